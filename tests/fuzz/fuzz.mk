# SPDX-License-Identifier: BSD-2-Clause-Patent
# Fuzzers, bounded in time: FUZZ_SECONDS each (60). Findings are left in $(BUILD)/fuzz.
#   make -f tests/fuzz/fuzz.mk fuzz-manifest FUZZ_SECONDS=600

BUILD ?= .build
include linker/record.mk
include tests/unit/hv_vcpu/core.mk
FUZZ_CC ?= clang
PYTHON ?= /usr/bin/python3
FUZZ_SECONDS ?= 60

FUZZ_DIR := $(BUILD)/fuzz
FUZZ_CFLAGS := -iquote . -std=c17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wextra
FUZZ_MANIFEST_SOURCES := tests/fuzz/fuzz_manifest.c tests/unit/manifest/good.c guest/manifest.c guest/manifest_registers.c \
	guest/crc32.c

.PHONY: fuzz-manifest
fuzz-manifest: $(FUZZ_DIR)/fuzz_manifest
	mkdir -p $(FUZZ_DIR)/manifest.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=60 -max_len=40960 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_DIR)/manifest- $(FUZZ_DIR)/manifest.corpus

$(FUZZ_DIR)/fuzz_manifest: $(FUZZ_MANIFEST_SOURCES) tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(FUZZ_CFLAGS),$(FUZZ_MANIFEST_SOURCES))
	$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_MANIFEST_SOURCES) -o $@

# The exits: hv's own files as tests/unit/hv_vcpu builds them, with the real devices.
FUZZ_EXITS_SOURCES := tests/fuzz/fuzz_exits.c $(unit-hv-vcpu-core)

.PHONY: fuzz-exits
fuzz-exits: $(FUZZ_DIR)/fuzz_exits
	mkdir -p $(FUZZ_DIR)/exits.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=60 -max_len=2048 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_DIR)/exits- $(FUZZ_DIR)/exits.corpus

FUZZ_EXITS_CFLAGS := $(patsubst -std=c17,-std=gnu17,$(FUZZ_CFLAGS)) -include tests/unit/hv_vcpu/fake_x86.h \
	-fsanitize-coverage-ignorelist=tests/fuzz/no-coverage.txt

$(FUZZ_DIR)/fuzz_exits: $(FUZZ_EXITS_SOURCES) tests/fuzz/fuzz.mk tests/fuzz/no-coverage.txt
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(FUZZ_EXITS_CFLAGS),$(FUZZ_EXITS_SOURCES))
	$(FUZZ_CC) $(FUZZ_EXITS_CFLAGS) $(FUZZ_EXITS_SOURCES) -lcmocka -o $@

# The control guest's server, with tests/unit/guest_control's model of hv.
FUZZ_RSP_SOURCES := tests/fuzz/fuzz_rsp.c tests/unit/guest_control/fake_hv.c tests/unit/guest_control/fake_moves.c \
	tests/unit/guest_control/fake_lab.c \
	$(filter-out guest/control/main.c guest/control/string.c,$(sort $(wildcard guest/control/*.c))) guest/crc32.c
FUZZ_RSP_CFLAGS := $(patsubst -std=c17,-std=gnu17,$(FUZZ_CFLAGS)) -D_GNU_SOURCE

.PHONY: fuzz-rsp
fuzz-rsp: $(FUZZ_DIR)/fuzz_rsp
	mkdir -p $(FUZZ_DIR)/rsp.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=60 -max_len=4096 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_DIR)/rsp- $(FUZZ_DIR)/rsp.corpus

$(FUZZ_DIR)/fuzz_rsp: $(FUZZ_RSP_SOURCES) tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(FUZZ_RSP_CFLAGS),$(FUZZ_RSP_SOURCES))
	$(FUZZ_CC) $(FUZZ_RSP_CFLAGS) $(FUZZ_RSP_SOURCES) -o $@

# The reader of snapshots: Python, as are the streams that it gets.
.PHONY: fuzz-stream
fuzz-stream:
	$(PYTHON) tests/fuzz/fuzz_stream.py --seconds $(FUZZ_SECONDS)

-include $(call dependencies,$(FUZZ_DIR))
