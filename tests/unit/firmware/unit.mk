# SPDX-License-Identifier: BSD-2-Clause-Patent
# Unit tests of the SEV firmware model.
# Included from the top Makefile; also: make -f tests/unit/firmware/unit.mk unit-firmware

BUILD ?= .build
PYTHON ?= /usr/bin/python3
include linker/record.mk

unit-firmware-out := $(BUILD)/unit/firmware
unit-firmware-cflags := -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror \
	-Itests/machine/firmware -Itests/unit/firmware -I$(unit-firmware-out)
unit-firmware-libs := -lcmocka -lnettle -lhogweed -lgmp

unit-firmware-models := $(addprefix tests/machine/firmware/,$(shell cat tests/machine/firmware/sources.txt) kds.c)
unit-firmware-built-with = $(CC_VERSION) $(unit-firmware-cflags)
$(eval $(call record,$(unit-firmware-out)/built-with,unit-firmware-built-with))
unit-firmware-tests := vectors platform launch states asid mailbox migrate

unit-firmware-objects = $(patsubst %.c,$(unit-firmware-out)/%.o,$(1))
unit-firmware-common := $(call unit-firmware-objects,tests/unit/firmware/fixture.c $(unit-firmware-models))

.SECONDARY: $(unit-firmware-common) $(unit-firmware-tests:%=$(unit-firmware-out)/test_%) \
	$(unit-firmware-tests:%=$(unit-firmware-out)/tests/unit/firmware/test_%.o)

.PHONY: unit-firmware unit-firmware-strict

unit-firmware: $(unit-firmware-tests:%=$(unit-firmware-out)/%.passed) unit-firmware-strict

$(unit-firmware-out)/vectors.h: tests/unit/firmware/make_vectors.py tests/unit/firmware/vectors.json
	@mkdir -p $(@D)
	$(PYTHON) $^ $@

$(unit-firmware-out)/tests/unit/firmware/test_vectors.o: $(unit-firmware-out)/vectors.h

$(unit-firmware-out)/%.o: %.c $(unit-firmware-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-firmware-cflags) $(DEPENDS) -c $< -o $@

$(unit-firmware-out)/test_%: $(unit-firmware-out)/tests/unit/firmware/test_%.o $(unit-firmware-common)
	$(CC) $(unit-firmware-cflags) $^ $(unit-firmware-libs) -o $@

$(unit-firmware-out)/%.passed: $(unit-firmware-out)/test_%
	$<
	@touch $@

# The scripted firmware: test_chain.py checks its certificates by another library; the system
# tests' guest owners ask it for the platform's.
SEVFW_TOOL := $(unit-firmware-out)/sevfw-tool

$(SEVFW_TOOL): $(call unit-firmware-objects,tests/unit/firmware/sevfw_tool.c $(unit-firmware-models))
	$(CC) $(unit-firmware-cflags) $^ -lnettle -lhogweed -lgmp -o $@

# The library as strictly as the product's own code is compiled, with each compiler that is there.
unit-firmware-strict: $(addprefix $(unit-firmware-out)/strict-,$(foreach c,gcc clang,$(if $(shell command -v $(c)),$(c).passed)))

unit-firmware-strict-cflags := -std=c17 -O2 -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wmissing-prototypes -Wvla -Werror

$(unit-firmware-out)/strict-%.passed: $(unit-firmware-models) tests/unit/firmware/unit.mk
	@mkdir -p $(@D)
	@$(call depend,$* $(unit-firmware-strict-cflags),$(unit-firmware-models))
	for f in $(unit-firmware-models); do \
		$* $(unit-firmware-strict-cflags) \
			-c $$f -o $(unit-firmware-out)/strict-$*.o || exit 1; done
	@touch $@

# The fuzzer, bounded in time: FUZZ_SECONDS (60).
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
unit-firmware-fuzz := $(BUILD)/fuzz/fuzz_firmware

.PHONY: fuzz-firmware
fuzz-firmware: $(unit-firmware-fuzz)
	mkdir -p $(BUILD)/fuzz/firmware.corpus
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -print_final_stats=1 \
		-artifact_prefix=$(BUILD)/fuzz/firmware- $(BUILD)/fuzz/firmware.corpus

unit-firmware-fuzz-cflags := -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wextra \
	-Itests/machine/firmware
unit-firmware-fuzz-sources := tests/fuzz/fuzz_firmware.c $(unit-firmware-models)

$(unit-firmware-fuzz): $(unit-firmware-fuzz-sources) tests/unit/firmware/unit.mk
	@mkdir -p $(@D)
	@$(call depend,$(FUZZ_CC) $(unit-firmware-fuzz-cflags),$(unit-firmware-fuzz-sources))
	$(FUZZ_CC) $(unit-firmware-fuzz-cflags) $(unit-firmware-fuzz-sources) -lnettle -lhogweed -lgmp -o $@

-include $(call dependencies,$(unit-firmware-out)) $(wildcard $(unit-firmware-fuzz).d)
