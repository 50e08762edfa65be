# SPDX-License-Identifier: BSD-2-Clause-Patent
# Builds the parts of the default guests in $(BUILD)/guest. Included by the top Makefile; also works alone:
#   make -f guest/guest.mk guest
# Targets: guest (all parts), guest-manifest (the launch program alone).
# For others: $(GUEST_PARTS), what guest/guests.toml packs; linker/flags.mk has $(GUEST_VALIDATOR_SOURCES), C files of the
#   manifest's validator, to be linked into boot/, hv/ and host programs.

BUILD ?= .build
LD ?= ld
OBJCOPY ?= objcopy
IASL ?= iasl
PYTHON ?= /usr/bin/python3
# A bzImage of your own instead of Debian's: make GUEST_KERNEL=...
GUEST_KERNEL ?=

include linker/record.mk
include linker/flags.mk

GUEST_DIR := $(BUILD)/guest
GUEST_PARTS := $(GUEST_DIR)/hello.bin $(GUEST_DIR)/control.bin $(GUEST_DIR)/dsdt.aml $(GUEST_DIR)/initramfs.cpio.gz $(GUEST_DIR)/vmlinuz

# What guest/locked.toml packs, too. The volume's key is beside it; the initramfs has none. Kernel and modules are of one package.
GUEST_LOCKED := $(GUEST_DIR)/locked
GUEST_LOCKED_MODULES := loop dm-crypt xts ecb
GUEST_LOCKED_IS := $(GUEST_LOCKED_MODULES) $(shell cat guest/linux/* | sha256sum)
$(eval $(call record,$(GUEST_LOCKED)/built-with,GUEST_LOCKED_IS))
ifneq ($(filter %/locked.toml,$(GUESTS)),)
GUEST_PARTS += $(GUEST_LOCKED)/initramfs.cpio.gz
endif

# Of all bare-metal guests.
GUEST_HELLO_CFLAGS := -iquote . -std=c17 -Os -ffreestanding -fno-pic -mgeneral-regs-only -mno-red-zone -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-tree-loop-distribute-patterns $(WARNINGS)

# Includes the sources' content, so that replacing a file by one with an older time stamp is noticed.
GUEST_HELLO_IS := $(shell cat guest/hello/*.[ch] guest/hello/*.ld guest/control/*.[ch] guest/control/*.ld guest/control.h guest/crc32.[ch] | sha256sum)
GUEST_BUILT_WITH = $(CC_VERSION) $(GUEST_HELLO_CFLAGS) $(LD) $(OBJCOPY) $(GUEST_HELLO_IS)
$(eval $(call record,$(GUEST_DIR)/built-with,GUEST_BUILT_WITH))
GUEST_KERNEL_IS = kernel: $(or $(GUEST_KERNEL),Debian's)
$(eval $(call record,$(GUEST_DIR)/kernel-is,GUEST_KERNEL_IS))

.PHONY: guest guest-manifest
guest: $(GUEST_PARTS)

guest-manifest: $(GUEST_DIR)/guests.manifest

$(GUEST_DIR):
	mkdir -p $@

$(GUEST_DIR)/hello.o: guest/hello/hello.c $(GUEST_DIR)/built-with | $(GUEST_DIR)
	$(CC) $(GUEST_HELLO_CFLAGS) $(DEPENDS) -c $< -o $@

-include $(GUEST_DIR)/hello.d

$(GUEST_DIR)/hello.elf: $(GUEST_DIR)/hello.o guest/hello/hello.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T guest/hello/hello.ld $< -o $@

$(GUEST_DIR)/hello.bin: $(GUEST_DIR)/hello.elf
	$(OBJCOPY) -O binary $< $@

GUEST_CONTROL_OBJECTS := $(patsubst guest/control/%.c,$(GUEST_DIR)/control/%.o,$(sort $(wildcard guest/control/*.c))) \
	$(GUEST_DIR)/control/crc32.o

$(GUEST_DIR)/control/%.o: guest/control/%.c $(GUEST_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(GUEST_HELLO_CFLAGS) $(DEPENDS) -c $< -o $@

$(GUEST_DIR)/control/crc32.o: guest/crc32.c $(GUEST_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(GUEST_HELLO_CFLAGS) $(DEPENDS) -c $< -o $@

-include $(GUEST_CONTROL_OBJECTS:.o=.d)

$(GUEST_DIR)/control.elf: $(GUEST_CONTROL_OBJECTS) guest/control/control.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T guest/control/control.ld $(GUEST_CONTROL_OBJECTS) -o $@

$(GUEST_DIR)/control.bin: $(GUEST_DIR)/control.elf
	$(OBJCOPY) -O binary $< $@

# iasl adds the suffix, and talks a lot. Always compiled, since that is quick; the file is replaced if its bytes differ.
$(GUEST_DIR)/dsdt.aml: guest/dsdt.asl always | $(GUEST_DIR)
	$(IASL) -we -p $(GUEST_DIR)/dsdt-new $< > $(GUEST_DIR)/dsdt.log 2>&1 || { cat $(GUEST_DIR)/dsdt.log; rm -f $@; exit 1; }
	cmp -s $(GUEST_DIR)/dsdt-new.aml $@ || cp $(GUEST_DIR)/dsdt-new.aml $@

$(GUEST_DIR)/initramfs.cpio.gz: always | $(GUEST_DIR)
	$(PYTHON) guest/linux/make-initramfs -o $@

# Whatever time stamp the kernel has, the copy is as it is now. Debian's is fetched once and kept until `make clean`, so that the
# same tree gives the same image tomorrow, and without a network.
ifeq ($(GUEST_KERNEL),)
$(GUEST_DIR)/vmlinuz: guest/linux/fetch-kernel $(GUEST_DIR)/kernel-is | $(GUEST_DIR)
	kernel=$$($(PYTHON) guest/linux/fetch-kernel) && cp "$$kernel" $@.part && touch $@.part && mv $@.part $@
else
$(GUEST_DIR)/vmlinuz: always $(GUEST_DIR)/kernel-is | $(GUEST_DIR)
	cmp -s $(call quoted,$(value GUEST_KERNEL)) $@ || { cp $(call quoted,$(value GUEST_KERNEL)) $@.part && touch $@.part && mv $@.part $@; }
endif

$(GUEST_DIR)/guests.manifest: $(GUEST_PARTS) always
	$(PYTHON) guest/pack.py guest/guests.toml --set BUILD=$(GUEST_DIR) --manifest-only -o $@

$(GUEST_LOCKED)/volume.luks: $(GUEST_LOCKED)/built-with
	mkdir -p $(@D)
	echo "the owner's files are here" > $(@D)/welcome
	$(PYTHON) guest/linux/make-volume --key $(@D)/disk.key -o $@ $(@D)/welcome

$(GUEST_LOCKED)/initramfs.cpio.gz: $(GUEST_LOCKED)/volume.luks $(GUEST_LOCKED)/built-with
	tree=$$($(PYTHON) guest/linux/fetch-kernel --tree) && cp "$$($(PYTHON) guest/linux/fetch-kernel)" $(@D)/vmlinuz && \
	$(PYTHON) guest/linux/make-initramfs --kernel-tree "$$tree" $(addprefix --module ,$(GUEST_LOCKED_MODULES)) \
		--file volume.luks:$(GUEST_LOCKED)/volume.luks "$$(PATH=$$PATH:/usr/sbin:/sbin command -v cryptsetup)" -o $@
