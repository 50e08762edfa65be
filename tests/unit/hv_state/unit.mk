# SPDX-License-Identifier: BSD-2-Clause-Patent
# What stands in the CPU's registers, for guests (switch.c) and for hv (cpu_msr.c), on a CPU of the test's, under sanitizers.
#   make -f tests/unit/hv_state/unit.mk unit-hv-state

BUILD ?= .build
ifeq ($(origin CC),default)
CC := gcc
endif
CC ?= gcc

unit-hv-state-out := $(BUILD)/unit/hv_state
unit-hv-state-in := tests/unit/hv_state
unit-hv-state-cflags := -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-hv-state-headers := $(wildcard hv/*.h guest/*.h boot/handoff.h $(unit-hv-state-in)/*.h) $(unit-hv-state-in)/unit.mk

.PHONY: unit-hv-state
unit-hv-state: $(unit-hv-state-out)/switch.passed $(unit-hv-state-out)/cpu_msr.passed

.PRECIOUS: $(unit-hv-state-out)/%.o $(unit-hv-state-out)/test_%

$(unit-hv-state-out)/%.o: %.c $(unit-hv-state-headers)
	@mkdir -p $(@D)
	$(CC) $(unit-hv-state-cflags) -include $(unit-hv-state-in)/fake_x86.h -c $< -o $@

$(unit-hv-state-out)/test_%: $(unit-hv-state-out)/$(unit-hv-state-in)/test_%.o $(unit-hv-state-out)/hv/%.o \
		$(unit-hv-state-out)/$(unit-hv-state-in)/fake_cpu.o
	$(CC) $(unit-hv-state-cflags) $^ -lcmocka -o $@

$(unit-hv-state-out)/%.passed: $(unit-hv-state-out)/test_%
	$<
	@touch $@
