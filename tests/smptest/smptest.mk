# SPDX-License-Identifier: BSD-2-Clause-Patent
# The self-test of many CPUs, and the sample guest's initramfs with it: init runs it where it is there.

SMPTEST_SOURCES := $(wildcard tests/smptest/*.c)
SMPTEST_CFLAGS := -std=c17 -D_GNU_SOURCE -O2 -static -pthread \
	-Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wmissing-prototypes -Wvla -Werror
SMPTEST := $(BUILD)/tests/smptest
SMPTEST_INITRAMFS := $(GUEST_DIR)/initramfs-smptest.cpio.gz

SMPTEST_BUILT_WITH = $(CC_VERSION) $(SMPTEST_CFLAGS) $(SMPTEST_SOURCES)
$(eval $(call record,$(SMPTEST).built-with,SMPTEST_BUILT_WITH))

$(SMPTEST): $(SMPTEST_SOURCES) $(SMPTEST).built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(SMPTEST_CFLAGS),$(SMPTEST_SOURCES))
	$(CC) $(SMPTEST_CFLAGS) $(SMPTEST_SOURCES) -o $@

-include $(wildcard $(SMPTEST).d)

$(SMPTEST_INITRAMFS): $(SMPTEST) always
	@mkdir -p $(@D)
	$(PYTHON) guest/linux/make-initramfs $(SMPTEST) -o $@
