# SPDX-License-Identifier: BSD-2-Clause-Patent
# Builds what the default guests are made of, into $(BUILD)/guest. Included by the top Makefile; also works alone:
#   make -f guest/guest.mk guest
# Targets: guest (all of it), guest-manifest (the launch program alone, for a look).
# For others: $(GUEST_VALIDATOR_SOURCES), C files of the manifest's validator, to be linked into boot/, hv/ and host programs;
#   $(GUEST_PARTS), what guest/guests.toml packs; $(GUEST_PACKER), the packer and all its modules, as prerequisites.

BUILD ?= .build
CC ?= gcc
LD ?= ld
OBJCOPY ?= objcopy
IASL ?= iasl
PYTHON ?= /usr/bin/python3
# A bzImage of your own instead of Debian's: make GUEST_KERNEL=...
GUEST_KERNEL ?=

GUEST_DIR := $(BUILD)/guest
GUEST_VALIDATOR_SOURCES := guest/manifest.c guest/manifest_registers.c guest/crc32.c
GUEST_VALIDATOR_HEADERS := guest/manifest.h guest/manifest_errors.h guest/manifest_registers.h guest/crc32.h
GUEST_PARTS := $(GUEST_DIR)/hello.bin $(GUEST_DIR)/dsdt.aml $(GUEST_DIR)/initramfs.cpio.gz $(GUEST_DIR)/vmlinuz
GUEST_PACKER := guest/pack.py $(wildcard guest/pack/*.py)

GUEST_HELLO_CFLAGS := -std=c17 -Os -ffreestanding -fno-pic -mgeneral-regs-only -mno-red-zone -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-tree-loop-distribute-patterns \
	-Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wmissing-prototypes -Wvla -Werror

.PHONY: guest guest-manifest
guest: $(GUEST_PARTS)

guest-manifest: $(GUEST_DIR)/guests.manifest

$(GUEST_DIR):
	mkdir -p $@

$(GUEST_DIR)/hello.o: guest/hello/hello.c guest/hello/bare.h | $(GUEST_DIR)
	$(CC) $(GUEST_HELLO_CFLAGS) -c $< -o $@

$(GUEST_DIR)/hello.elf: $(GUEST_DIR)/hello.o guest/hello/hello.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T guest/hello/hello.ld $< -o $@

$(GUEST_DIR)/hello.bin: $(GUEST_DIR)/hello.elf
	$(OBJCOPY) -O binary $< $@

# iasl adds the suffix, and talks a lot.
$(GUEST_DIR)/dsdt.aml: guest/dsdt.asl | $(GUEST_DIR)
	$(IASL) -we -p $(GUEST_DIR)/dsdt $< > $(GUEST_DIR)/dsdt.log 2>&1 || { cat $(GUEST_DIR)/dsdt.log; rm -f $@; exit 1; }

$(GUEST_DIR)/initramfs.cpio.gz: guest/linux/make-initramfs guest/linux/init /bin/busybox | $(GUEST_DIR)
	$(PYTHON) guest/linux/make-initramfs -o $@

# The kernel's time stamp is that of its package: copy, and touch.
ifeq ($(GUEST_KERNEL),)
$(GUEST_DIR)/vmlinuz: guest/linux/fetch-kernel | $(GUEST_DIR)
	kernel=$$($(PYTHON) guest/linux/fetch-kernel) && cp "$$kernel" $@.part && touch $@.part && mv $@.part $@
else
$(GUEST_DIR)/vmlinuz: $(GUEST_KERNEL) | $(GUEST_DIR)
	cp $< $@.part && touch $@.part && mv $@.part $@
endif

$(GUEST_DIR)/guests.manifest: guest/guests.toml $(GUEST_PARTS) $(GUEST_PACKER)
	$(PYTHON) guest/pack.py guest/guests.toml --set BUILD=$(GUEST_DIR) --manifest-only -o $@
