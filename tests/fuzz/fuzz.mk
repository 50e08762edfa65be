# SPDX-License-Identifier: BSD-2-Clause-Patent
# Fuzzers, bounded in time: FUZZ_SECONDS each (60). Findings are left in $(BUILD)/fuzz.
#   make -f tests/fuzz/fuzz.mk fuzz-manifest FUZZ_SECONDS=600

BUILD ?= .build
include linker/record.mk
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60

FUZZ_DIR := $(BUILD)/fuzz
FUZZ_CFLAGS := -iquote . -std=c17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wextra
FUZZ_MANIFEST_SOURCES := tests/fuzz/fuzz_manifest.c tests/unit/manifest/good.c guest/manifest.c guest/manifest_registers.c \
	guest/crc32.c

.PHONY: fuzz-manifest
fuzz-manifest: $(FUZZ_DIR)/fuzz_manifest
	mkdir -p $(FUZZ_DIR)/manifest.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=5 -max_len=40960 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_DIR)/manifest- $(FUZZ_DIR)/manifest.corpus

$(FUZZ_DIR)/fuzz_manifest: $(FUZZ_MANIFEST_SOURCES) tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(FUZZ_CFLAGS),$(FUZZ_MANIFEST_SOURCES))
	$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_MANIFEST_SOURCES) -o $@

# The exits: hv's own files as tests/unit/hv_vcpu builds them, with the real devices.
FUZZ_EXITS_CORE := $(addprefix hv/,svm/vmcb.c vm/vcpu_cr.c vm/vcpu_poll.c vm/vcpu_start.c vm/fair.c vm/ipi.c vm/sched.c vm/run.c init/loop.c lib/heap.c vm/event.c vm/exit.c vm/exit_dispatch.c vm/exit_cache.c cpu/mca.c console/mca_log.c vm/exit_cr.c vm/exit_npf.c vm/exit_cpuid.c vm/exit_msr.c vm/exit_msr_list.c vm/exit_io.c vm/vcpu_clock.c \
	svm/npt.c dev/vlapic.c dev/vpower.c dev/vuart.c dev/pvclock.c lib/text.c)
FUZZ_EXITS_SOURCES := tests/fuzz/fuzz_exits.c tests/unit/hv_vcpu/rig.c $(FUZZ_EXITS_CORE)

.PHONY: fuzz-exits
fuzz-exits: $(FUZZ_DIR)/fuzz_exits
	mkdir -p $(FUZZ_DIR)/exits.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=5 -max_len=2048 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_DIR)/exits- $(FUZZ_DIR)/exits.corpus

FUZZ_EXITS_CFLAGS := $(patsubst -std=c17,-std=gnu17,$(FUZZ_CFLAGS)) -include tests/unit/hv_vcpu/fake_x86.h

$(FUZZ_DIR)/fuzz_exits: $(FUZZ_EXITS_SOURCES) tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(FUZZ_EXITS_CFLAGS),$(FUZZ_EXITS_SOURCES))
	$(FUZZ_CC) $(FUZZ_EXITS_CFLAGS) $(FUZZ_EXITS_SOURCES) -lcmocka -o $@

-include $(call dependencies,$(FUZZ_DIR))
