# SPDX-License-Identifier: BSD-2-Clause-Patent
# Several CPUs and what they ask of each other: hv/init/smp.c and hv/cpu/lapic.c with registers and instructions of the test's own.
#   make -f tests/unit/hv_smp/unit.mk unit-hv-smp

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk

UNIT_HV_SMP := $(BUILD)/unit/hv_smp
UNIT_HV_SMP_CFLAGS := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wmissing-prototypes -Wundef -Wvla -Werror
UNIT_HV_SMP_SOURCES := tests/unit/hv_smp/test_smp.c tests/unit/hv_smp/machine.c tests/unit/fake_hardware.c tests/unit/fake_uart.c $(BOARDS_C) \
	hv/lib/text.c $(addprefix hv/console/,console.c line.c log.c serial.c) hv/cpu/clock.c hv/mm/view.c
UNIT_HV_SMP_CC = $(CC) $(UNIT_HV_SMP_CFLAGS) -include tests/unit/hv_smp/fake_x86.h
UNIT_HV_SMP_BUILT_WITH = $(CC_VERSION) $(UNIT_HV_SMP_CFLAGS)
$(eval $(call record,$(UNIT_HV_SMP)/built-with,UNIT_HV_SMP_BUILT_WITH))

.PHONY: unit-hv-smp
unit-hv-smp: $(UNIT_HV_SMP)/smp.passed

$(UNIT_HV_SMP)/test_smp: $(UNIT_HV_SMP_SOURCES) $(UNIT_HV_SMP)/built-with
	@mkdir -p $(@D)
	@$(call depend,$(UNIT_HV_SMP_CC),$(UNIT_HV_SMP_SOURCES))
	$(UNIT_HV_SMP_CC) $(UNIT_HV_SMP_SOURCES) -lcmocka -o $@

$(UNIT_HV_SMP)/%.passed: $(UNIT_HV_SMP)/test_%
	$<
	@touch $@

-include $(call dependencies,$(UNIT_HV_SMP))
