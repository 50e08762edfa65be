# SPDX-License-Identifier: BSD-2-Clause-Patent
# What stands in the CPU's registers, for guests (switch.c) and for hv (cpu_msr.c), on a CPU of the test's, under sanitizers.
#   make -f tests/unit/hv_state/unit.mk unit-hv-state

BUILD ?= .build
include linker/record.mk

unit-hv-state-out := $(BUILD)/unit/hv_state
unit-hv-state-in := tests/unit/hv_state
unit-hv-state-cflags := -iquote . -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-hv-state-built-with = $(CC_VERSION) $(unit-hv-state-cflags)
$(eval $(call record,$(unit-hv-state-out)/built-with,unit-hv-state-built-with))

.PHONY: unit-hv-state
unit-hv-state: $(unit-hv-state-out)/switch.passed $(unit-hv-state-out)/cpu_msr.passed

.PRECIOUS: $(unit-hv-state-out)/%.o $(unit-hv-state-out)/test_%

$(unit-hv-state-out)/%.o: %.c $(unit-hv-state-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-state-cflags) $(DEPENDS) -include $(unit-hv-state-in)/fake_x86.h -c $< -o $@

$(unit-hv-state-out)/test_switch: $(unit-hv-state-out)/hv/svm/switch.o
$(unit-hv-state-out)/test_cpu_msr: $(unit-hv-state-out)/hv/cpu/cpu_msr.o
$(unit-hv-state-out)/test_%: $(unit-hv-state-out)/$(unit-hv-state-in)/test_%.o \
		$(unit-hv-state-out)/$(unit-hv-state-in)/fake_cpu.o
	$(CC) $(unit-hv-state-cflags) $^ -lcmocka -o $@

$(unit-hv-state-out)/%.passed: $(unit-hv-state-out)/test_%
	$<
	@touch $@

-include $(call dependencies,$(unit-hv-state-out))
