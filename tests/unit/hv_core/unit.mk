# SPDX-License-Identifier: BSD-2-Clause-Patent
# Unit tests of hv's core and of boot/'s pure parts. Included from the top Makefile; also:
#   make -f tests/unit/hv_core/unit.mk unit-hv-core

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk
GNU_EFI_INCLUDE ?= /usr/include/efi

UNIT_HV_CORE := $(BUILD)/unit/hv_core
# A test is one file; what it tests stands here. `memory` brings stand-ins for the hardware of its own.
UNIT_HV_CORE_text := hv/lib/text.c
UNIT_HV_CORE_runs := hv/lib/runs.c
UNIT_HV_CORE_memory := hv/mm/memory.c hv/mm/page.c hv/mm/view.c hv/lib/runs.c hv/lib/text.c
UNIT_HV_CORE_FLAGS_memory := -include tests/unit/hv_core/fake_arena.h
UNIT_HV_CORE_pagetable := hv/lib/pagetable.c
UNIT_HV_CORE_ranges := boot/ranges.c
UNIT_HV_CORE_sections := boot/sections.c guest/crc32.c
UNIT_HV_CORE_madt := boot/madt.c
UNIT_HV_CORE_boards := boot/ranges.c boot/madt.c hv/lib/runs.c $(BOARDS_C)
UNIT_HV_CORE_watch := hv/vm/watch.c hv/lib/text.c $(addprefix hv/console/,console.c line.c log.c serial.c) hv/cpu/clock.c hv/cpu/lapic.c \
	tests/unit/fake_hardware.c tests/unit/fake_uart.c
UNIT_HV_CORE_FLAGS_watch := -include tests/unit/fake_x86.h
UNIT_HV_CORE_heap := hv/lib/heap.c
UNIT_HV_CORE_console := hv/console/console.c hv/console/serial.c hv/cpu/clock.c hv/lib/text.c tests/unit/fake_hardware.c
UNIT_HV_CORE_FLAGS_console := -include tests/unit/fake_x86.h
# string.c is compiled by itself, under other names: the rest of the program keeps the C library's.
UNIT_HV_CORE_string := $(UNIT_HV_CORE)/string.o
UNIT_HV_CORE_TESTS := text string runs memory pagetable ranges sections madt watch console heap boards

UNIT_HV_CORE_CFLAGS := -iquote . -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror \
	-DGNU_EFI_USE_MS_ABI -isystem $(GNU_EFI_INCLUDE) -isystem $(GNU_EFI_INCLUDE)/x86_64

UNIT_HV_CORE_BUILT_WITH = $(CC_VERSION) $(UNIT_HV_CORE_CFLAGS)
$(eval $(call record,$(UNIT_HV_CORE)/built-with,UNIT_HV_CORE_BUILT_WITH))

.PHONY: unit-hv-core
unit-hv-core: $(UNIT_HV_CORE_TESTS:%=$(UNIT_HV_CORE)/%.passed)

define UNIT_HV_CORE_RULE
$(UNIT_HV_CORE)/test_$(1): tests/unit/hv_core/test_$(1).c $(UNIT_HV_CORE_$(1)) $(UNIT_HV_CORE)/built-with
	@mkdir -p $$(@D)
	@$$(call depend,$$(CC) $$(UNIT_HV_CORE_CFLAGS) $(UNIT_HV_CORE_FLAGS_$(1)),tests/unit/hv_core/test_$(1).c $(filter %.c,$(UNIT_HV_CORE_$(1))))
	$$(CC) $$(UNIT_HV_CORE_CFLAGS) $(UNIT_HV_CORE_FLAGS_$(1)) tests/unit/hv_core/test_$(1).c $(UNIT_HV_CORE_$(1)) -lcmocka -o $$@
endef
$(foreach test,$(UNIT_HV_CORE_TESTS),$(eval $(call UNIT_HV_CORE_RULE,$(test))))

$(UNIT_HV_CORE)/string.o: hv/lib/string.c $(UNIT_HV_CORE)/built-with
	@mkdir -p $(@D)
	$(CC) $(UNIT_HV_CORE_CFLAGS) $(DEPENDS) -fno-builtin $(foreach f,memcpy memmove memset memcmp strlen,-D$(f)=hv_$(f)) -c $< -o $@

$(UNIT_HV_CORE)/%.passed: $(UNIT_HV_CORE)/test_%
	$<
	@touch $@

-include $(call dependencies,$(UNIT_HV_CORE))
