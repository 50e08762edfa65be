# SPDX-License-Identifier: BSD-2-Clause-Patent
# What the system tests need built: the application that stands second in a boot order.

NEXT_EFI := $(BUILD)/tests/next.efi

$(BUILD)/tests/next.o: tests/system/next/next.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -O1 -Wall -Wextra -Werror -ffreestanding -fpic -fno-stack-protector -fshort-wchar \
		-mno-red-zone -mgeneral-regs-only -I/usr/include/efi -I/usr/include/efi/x86_64 -c $< -o $@

$(BUILD)/tests/next.so: $(BUILD)/tests/next.o
	$(LD) -nostdlib -znocombreloc -shared -Bsymbolic -z noexecstack -T /usr/lib/elf_x86_64_efi.lds \
		-L /usr/lib /usr/lib/crt0-efi-x86_64.o $< -o $@ -lgnuefi

$(NEXT_EFI): $(BUILD)/tests/next.so
	objcopy -j .text -j .sdata -j .data -j .rodata -j .dynamic -j .dynsym -j .rel -j .rela -j .rel.* -j .rela.* \
		-j .reloc --target=efi-app-x86_64 $< $@
