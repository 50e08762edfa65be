# SPDX-License-Identifier: BSD-2-Clause-Patent
# The manifest's validator under AddressSanitizer and UBSan, and as a command for the packer's tests.
#   make -f tests/unit/manifest/unit.mk unit-manifest
# $(MANIFEST_CHECK): the command manifest-check.

BUILD ?= .build
CC ?= gcc

UNIT_MANIFEST_DIR := $(BUILD)/unit/manifest
UNIT_MANIFEST_VALIDATOR := guest/manifest.c guest/manifest_registers.c guest/crc32.c
UNIT_MANIFEST_HEADERS := $(wildcard guest/*.h tests/unit/manifest/*.h)
UNIT_MANIFEST_CFLAGS := -std=c17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra -Wshadow \
	-Wcast-qual -Wundef -Wvla -Werror
MANIFEST_CHECK := $(UNIT_MANIFEST_DIR)/manifest-check

.PHONY: unit-manifest
unit-manifest: $(UNIT_MANIFEST_DIR)/edges.passed $(UNIT_MANIFEST_DIR)/manifest.passed $(MANIFEST_CHECK)

$(UNIT_MANIFEST_DIR)/test_%: tests/unit/manifest/test_%.c tests/unit/manifest/good.c \
		$(UNIT_MANIFEST_VALIDATOR) $(UNIT_MANIFEST_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(UNIT_MANIFEST_CFLAGS) $(filter %.c,$^) -lcmocka -o $@

$(UNIT_MANIFEST_DIR)/%.passed: $(UNIT_MANIFEST_DIR)/test_%
	$<
	@touch $@

$(MANIFEST_CHECK): tests/unit/manifest/manifest-check.c $(UNIT_MANIFEST_VALIDATOR) $(UNIT_MANIFEST_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(UNIT_MANIFEST_CFLAGS) $(filter %.c,$^) -o $@
