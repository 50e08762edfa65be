# SPDX-License-Identifier: BSD-2-Clause-Patent
# hv's own address space: hostmap.c and window.c, on the real page tables and pool, under sanitizers.
#   make -f tests/unit/hv_map/unit.mk unit-hv-map

BUILD ?= .build
include linker/record.mk

UNIT_HV_MAP := $(BUILD)/unit/hv_map
UNIT_HV_MAP_TESTS := window hostmap
UNIT_HV_MAP_SOURCES := hv/mm/hostmap.c hv/mm/window.c hv/lib/pagetable.c hv/mm/memory.c hv/mm/page.c hv/mm/view.c hv/lib/runs.c hv/lib/text.c tests/unit/hv_map/rig.c
UNIT_HV_MAP_CFLAGS := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror \
	-include tests/unit/hv_map/fake_hardware.h
UNIT_HV_MAP_BUILT_WITH = $(CC_VERSION) $(UNIT_HV_MAP_CFLAGS)
$(eval $(call record,$(UNIT_HV_MAP)/built-with,UNIT_HV_MAP_BUILT_WITH))

.PHONY: unit-hv-map
unit-hv-map: $(UNIT_HV_MAP_TESTS:%=$(UNIT_HV_MAP)/%.passed)

.PRECIOUS: $(UNIT_HV_MAP)/test_%

$(UNIT_HV_MAP)/test_%: tests/unit/hv_map/test_%.c $(UNIT_HV_MAP_SOURCES) $(UNIT_HV_MAP)/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(UNIT_HV_MAP_CFLAGS),tests/unit/hv_map/test_$*.c $(UNIT_HV_MAP_SOURCES))
	$(CC) $(UNIT_HV_MAP_CFLAGS) tests/unit/hv_map/test_$*.c $(UNIT_HV_MAP_SOURCES) -lcmocka -o $@

$(UNIT_HV_MAP)/%.passed: $(UNIT_HV_MAP)/test_%
	$<
	@touch $@

-include $(call dependencies,$(UNIT_HV_MAP))
