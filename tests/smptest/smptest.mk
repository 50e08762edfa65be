# SPDX-License-Identifier: BSD-2-Clause-Patent
# The self-test of many CPUs, and the sample guest's initramfs with it: init runs it where it is there.

SMPTEST_SOURCES := $(wildcard tests/smptest/*.c)
SMPTEST_CFLAGS := -std=c17 -D_GNU_SOURCE -O2 -static -pthread \
	-Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wmissing-prototypes -Wvla -Werror
SMPTEST := $(BUILD)/tests/smptest
SMPTEST_INITRAMFS := $(GUEST_DIR)/initramfs-smptest.cpio.gz

$(SMPTEST): $(SMPTEST_SOURCES) tests/smptest/smptest.h
	@mkdir -p $(@D)
	$(CC) $(SMPTEST_CFLAGS) $(SMPTEST_SOURCES) -o $@

$(SMPTEST_INITRAMFS): guest/linux/make-initramfs guest/linux/init $(SMPTEST) /bin/busybox
	$(PYTHON) guest/linux/make-initramfs $(SMPTEST) -o $@
