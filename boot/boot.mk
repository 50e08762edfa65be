# SPDX-License-Identifier: BSD-2-Clause-Patent
# The UEFI application: $(BOOT_EFI), the hypervisor inside, without a manifest (guest/pack.py adds that). Wants hv/hv.mk.

BUILD ?= .build
LD ?= ld
OBJCOPY ?= objcopy
NASM ?= nasm
PYTHON ?= /usr/bin/python3
GNU_EFI_INCLUDE ?= /usr/include/efi
# Since Debian 14 in the architecture's own folder, which the compiler knows.
GNU_EFI_LIB ?= $(patsubst %/,%,$(dir $(shell $(CC) -print-file-name=crt0-efi-x86_64.o)))

include linker/record.mk
include linker/flags.mk

BOOT_DIR := $(BUILD)/boot
BOOT_EFI := $(BOOT_DIR)/sevisor.efi

# Pure parts of other rooms, built a second time for this one.
BOOT_SHARED := hv/lib/string.c hv/lib/text.c hv/lib/pagetable.c hv/lib/runs.c hv/lib/mmio.c hv/lib/pci.c \
	$(addprefix psp/,attach.c command.c discover.c generation.c mailbox.c status.c) $(GUEST_VALIDATOR_SOURCES)
BOOT_SOURCES := $(sort $(wildcard boot/*.c)) $(BOOT_SHARED)
BOOT_ASSEMBLY := $(sort $(wildcard boot/*.asm))
BOOT_OBJECTS := $(BOOT_SOURCES:%.c=$(BOOT_DIR)/%.o) $(BOOT_ASSEMBLY:%.asm=$(BOOT_DIR)/%.asm.o)

BOOT_CFLAGS := $(PRODUCT_CFLAGS) -fpic -fvisibility=hidden -fshort-wchar -DGNU_EFI_USE_MS_ABI \
	-isystem $(GNU_EFI_INCLUDE) -isystem $(GNU_EFI_INCLUDE)/x86_64
BOOT_LDFLAGS := $(PRODUCT_LDFLAGS) -shared -Bsymbolic --no-undefined -z norelro --hash-style=sysv --no-warn-rwx-segments

BOOT_BUILT_WITH = $(CC_VERSION) $(subst $(CURDIR),,$(BOOT_CFLAGS)) $(LD) $(BOOT_LDFLAGS) $(OBJCOPY) $(NASM) $(BOOT_SOURCES) $(BOOT_ASSEMBLY)
$(eval $(call record,$(BOOT_DIR)/built-with,BOOT_BUILT_WITH))

.PHONY: boot
boot: $(BOOT_EFI)

$(BOOT_DIR)/%.o: %.c $(BOOT_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(BOOT_CFLAGS) $(DEPENDS) -c $< -o $@

$(BOOT_DIR)/%.asm.o: %.asm $(BOOT_DIR)/built-with
	@mkdir -p $(@D)
	$(NASM) -f elf64 -MD $(@:.o=.d) -MT $@ -MP $< -o $@

# With the checksum in its header: struct hv_image_header in boot/handoff.h.
$(BOOT_DIR)/hv.o: $(HV_IMAGE) boot/boot.mk
	@mkdir -p $(@D)
	checksum=$$($(PYTHON) -c 'import sys, zlib; print(zlib.crc32(open(sys.argv[1], "rb").read()[16:]))' $<) && \
	printf '.section .hv,"aw",@progbits\n.incbin "%s", 0, 12\n.long %u\n.incbin "%s", 16\n.section .note.GNU-stack,"",@progbits\n' \
		$< $$checksum $< | $(CC) -x assembler -c - -o $@

$(BOOT_DIR)/sevisor.so: $(BOOT_OBJECTS) $(BOOT_DIR)/hv.o linker/boot.ld $(BOOT_DIR)/built-with
	$(LD) $(BOOT_LDFLAGS) -T linker/boot.ld $(GNU_EFI_LIB)/crt0-efi-x86_64.o $(BOOT_OBJECTS) $(BOOT_DIR)/hv.o \
		$(GNU_EFI_LIB)/libgnuefi.a -o $@

# The PE headers fill a page, which leaves room for guest/pack.py's section.
$(BOOT_EFI): $(BOOT_DIR)/sevisor.so linker/finish.py guest/pack/pe.py
	$(OBJCOPY) --strip-all -j .text -j .reloc -j .rodata -j .data -j .dynamic -j .rela -j .dynsym -j .sbat -j .hv \
		--output-target efi-app-x86_64 --subsystem=10 --file-alignment=4096 --section-alignment=4096 $< $@.new
	$(PYTHON) linker/finish.py $@.new
	mv $@.new $@

-include $(BOOT_OBJECTS:.o=.d)
