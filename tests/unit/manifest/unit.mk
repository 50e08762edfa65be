# SPDX-License-Identifier: BSD-2-Clause-Patent
# The manifest's validator under AddressSanitizer and UBSan, and as a command for the packer's tests.
#   make -f tests/unit/manifest/unit.mk unit-manifest
# $(MANIFEST_CHECK): the command manifest-check.

BUILD ?= .build
include linker/record.mk

UNIT_MANIFEST_DIR := $(BUILD)/unit/manifest
UNIT_MANIFEST_VALIDATOR := guest/manifest.c guest/manifest_registers.c guest/crc32.c
UNIT_MANIFEST_CFLAGS := -iquote . -std=c17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra -Wshadow \
	-Wcast-qual -Wundef -Wvla -Werror
MANIFEST_CHECK := $(UNIT_MANIFEST_DIR)/manifest-check

UNIT_MANIFEST_BUILT_WITH = $(CC_VERSION) $(UNIT_MANIFEST_CFLAGS)
$(eval $(call record,$(UNIT_MANIFEST_DIR)/built-with,UNIT_MANIFEST_BUILT_WITH))

.PHONY: unit-manifest
unit-manifest: $(UNIT_MANIFEST_DIR)/edges.passed $(UNIT_MANIFEST_DIR)/manifest.passed $(MANIFEST_CHECK)

UNIT_MANIFEST_SOURCES := tests/unit/manifest/good.c $(UNIT_MANIFEST_VALIDATOR)

$(UNIT_MANIFEST_DIR)/test_%: tests/unit/manifest/test_%.c $(UNIT_MANIFEST_SOURCES) $(UNIT_MANIFEST_DIR)/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(UNIT_MANIFEST_CFLAGS),$< $(UNIT_MANIFEST_SOURCES))
	$(CC) $(UNIT_MANIFEST_CFLAGS) $< $(UNIT_MANIFEST_SOURCES) -lcmocka -o $@

$(UNIT_MANIFEST_DIR)/%.passed: $(UNIT_MANIFEST_DIR)/test_%
	$<
	@touch $@

$(MANIFEST_CHECK): tests/unit/manifest/manifest-check.c $(UNIT_MANIFEST_VALIDATOR) $(UNIT_MANIFEST_DIR)/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(UNIT_MANIFEST_CFLAGS),$< $(UNIT_MANIFEST_VALIDATOR))
	$(CC) $(UNIT_MANIFEST_CFLAGS) $< $(UNIT_MANIFEST_VALIDATOR) -o $@

-include $(call dependencies,$(UNIT_MANIFEST_DIR))
