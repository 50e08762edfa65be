# SPDX-License-Identifier: BSD-2-Clause-Patent
# hv's own address space: hostmap.c and window.c, on the real page tables and pool, under sanitizers.
#   make -f tests/unit/hv_map/unit.mk unit-hv-map

BUILD ?= .build
ifeq ($(origin CC),default)
CC := gcc
endif

UNIT_HV_MAP := $(BUILD)/unit/hv_map
UNIT_HV_MAP_TESTS := window hostmap
UNIT_HV_MAP_SOURCES := hv/hostmap.c hv/window.c hv/pagetable.c hv/memory.c hv/runs.c hv/text.c tests/unit/hv_map/rig.c
UNIT_HV_MAP_CFLAGS := -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror \
	-include tests/unit/hv_map/fake_hardware.h

.PHONY: unit-hv-map
unit-hv-map: $(UNIT_HV_MAP_TESTS:%=$(UNIT_HV_MAP)/%.passed)

$(UNIT_HV_MAP)/test_%: tests/unit/hv_map/test_%.c $(UNIT_HV_MAP_SOURCES) $(wildcard hv/*.h boot/*.h tests/unit/hv_map/*.h) \
		tests/unit/hv_core/test.h tests/unit/hv_map/unit.mk
	@mkdir -p $(@D)
	$(CC) $(UNIT_HV_MAP_CFLAGS) $(filter %.c,$^) -lcmocka -o $@

$(UNIT_HV_MAP)/%.passed: $(UNIT_HV_MAP)/test_%
	$<
	@touch $@
