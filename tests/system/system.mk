# SPDX-License-Identifier: BSD-2-Clause-Patent
# What the system tests need built: UEFI applications that stand beside Sevisor on its disk, and guests of their own,
# flat binaries as guest/hello is.

SYSTEM_EFI := $(BUILD)/tests/next.efi $(BUILD)/tests/holes.efi $(BUILD)/tests/ghost.efi

SYSTEM_CFLAGS := -iquote . -std=c17 -O1 -Wall -Wextra -Werror -ffreestanding -fpic -fno-stack-protector -fshort-wchar \
	-mno-red-zone -mgeneral-regs-only -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
SYSTEM_BUILT_WITH = $(CC_VERSION) $(SYSTEM_CFLAGS)
$(eval $(call record,$(BUILD)/tests/built-with,SYSTEM_BUILT_WITH))

$(BUILD)/tests/%.o: tests/system/efi/%.c $(BUILD)/tests/built-with
	@mkdir -p $(@D)
	$(CC) $(SYSTEM_CFLAGS) $(DEPENDS) -c $< -o $@

$(BUILD)/tests/%.so: $(BUILD)/tests/%.o
	$(LD) -nostdlib -znocombreloc -shared -Bsymbolic -z noexecstack -T $(GNU_EFI_LIB)/elf_x86_64_efi.lds \
		-L $(GNU_EFI_LIB) $(GNU_EFI_LIB)/crt0-efi-x86_64.o $< -o $@ -lefi -lgnuefi

$(BUILD)/tests/%.efi: $(BUILD)/tests/%.so
	objcopy -j .text -j .sdata -j .data -j .rodata -j .dynamic -j .dynsym -j .rel -j .rela -j .rel.* -j .rela.* \
		-j .reloc --output-target=efi-app-x86_64 $< $@

SYSTEM_GUESTS := $(addprefix $(GUEST_DIR)/,scan.bin client.bin mover.bin mortal.bin doomed.bin)

$(BUILD)/tests/guest/%.o: tests/system/guest/%.c $(GUEST_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(GUEST_HELLO_CFLAGS) $(DEPENDS) -c $< -o $@

$(BUILD)/tests/guest/%.elf: $(BUILD)/tests/guest/%.o tests/system/guest/%.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T tests/system/guest/$*.ld $< -o $@

# The control guest, which dies: at random, or when it is told.
MORTAL_WRAPS := machine_doorbell machine_sleep machine_send server_poll
DOOMED_WRAPS := machine_doorbell machine_send server_byte
$(BUILD)/tests/guest/mortal.elf: WRAPS = $(MORTAL_WRAPS)
$(BUILD)/tests/guest/doomed.elf: WRAPS = $(DOOMED_WRAPS)

$(addprefix $(BUILD)/tests/guest/,mortal.elf doomed.elf): %.elf: %.o $(GUEST_CONTROL_OBJECTS) guest/control/control.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack $(WRAPS:%=--wrap=%) \
		-T guest/control/control.ld $(GUEST_CONTROL_OBJECTS) $< -o $@

$(SYSTEM_GUESTS): $(GUEST_DIR)/%.bin: $(BUILD)/tests/guest/%.elf
	$(OBJCOPY) -O binary $< $@

-include $(wildcard $(SYSTEM_EFI:.efi=.d)) $(call dependencies,$(BUILD)/tests/guest)
