# SPDX-License-Identifier: BSD-2-Clause-Patent
# Several CPUs and what they ask of each other: hv/smp.c and hv/lapic.c with registers and instructions of the test's own.
#   make -f tests/unit/hv_smp/unit.mk unit-hv-smp

BUILD ?= .build
ifeq ($(origin CC),default)
CC := gcc
endif

UNIT_HV_SMP := $(BUILD)/unit/hv_smp
UNIT_HV_SMP_CFLAGS := -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wmissing-prototypes -Wundef -Wvla -Werror

.PHONY: unit-hv-smp
unit-hv-smp: $(UNIT_HV_SMP)/smp.passed

$(UNIT_HV_SMP)/test_smp: $(wildcard tests/unit/hv_smp/*) hv/smp.c hv/lapic.c hv/text.c $(wildcard hv/*.h boot/*.h)
	@mkdir -p $(@D)
	$(CC) $(UNIT_HV_SMP_CFLAGS) -include tests/unit/hv_smp/fake_x86.h tests/unit/hv_smp/test_smp.c tests/unit/hv_smp/machine.c \
		hv/text.c -lcmocka -o $@

$(UNIT_HV_SMP)/%.passed: $(UNIT_HV_SMP)/test_%
	$<
	@touch $@
