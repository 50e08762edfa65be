# SPDX-License-Identifier: BSD-2-Clause-Patent
# What hv/hv.mk and boot/boot.mk build with, both; the warnings and the validator's sources are guest/guest.mk's too.

ifndef WARNINGS
include linker/record.mk

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wmissing-prototypes -Wvla -Werror

# Frame pointers are for panic.c's call trace.
PRODUCT_CFLAGS := -iquote . -std=c17 -ffreestanding -O2 -g $(WARNINGS) -mgeneral-regs-only -mno-red-zone -fno-omit-frame-pointer \
	-fstack-protector-strong -mstack-protector-guard=global -fcf-protection=none -fno-asynchronous-unwind-tables \
	$(call quoted,-ffile-prefix-map=$(CURDIR)=.)
PRODUCT_LDFLAGS := -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --orphan-handling=error --fatal-warnings

# The manifest's validator.
GUEST_VALIDATOR_SOURCES := guest/manifest.c guest/manifest_registers.c guest/crc32.c
endif
