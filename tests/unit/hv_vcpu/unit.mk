# SPDX-License-Identifier: BSD-2-Clause-Patent
# The vCPU core of hv/ under AddressSanitizer and UBSan: nested page tables, ASIDs, exits, events, scheduler.
#   make -f tests/unit/hv_vcpu/unit.mk unit-hv-vcpu

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk
include tests/unit/hv_vcpu/core.mk

unit-hv-vcpu-out := $(BUILD)/unit/hv_vcpu
unit-hv-vcpu-in := tests/unit/hv_vcpu
unit-hv-vcpu-cflags := -iquote . -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-hv-vcpu-built-with = $(CC_VERSION) $(unit-hv-vcpu-cflags)
$(eval $(call record,$(unit-hv-vcpu-out)/built-with,unit-hv-vcpu-built-with))
unit-hv-vcpu-tests := constants npt asid exits cr mca cpuid msr io event debug ipi sched accessors pages
unit-hv-vcpu-core-objects := $(unit-hv-vcpu-core:%.c=$(unit-hv-vcpu-out)/%.o) $(unit-hv-vcpu-out)/$(unit-hv-vcpu-in)/rig_devices.o

.PHONY: unit-hv-vcpu
unit-hv-vcpu: $(unit-hv-vcpu-tests:%=$(unit-hv-vcpu-out)/%.passed)

.PRECIOUS: $(unit-hv-vcpu-out)/%.o $(unit-hv-vcpu-out)/test_%

$(unit-hv-vcpu-out)/%.o: %.c $(unit-hv-vcpu-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-vcpu-cflags) $(DEPENDS) -include $(unit-hv-vcpu-in)/fake_x86.h -c $< -o $@

$(unit-hv-vcpu-out)/test_%: $(unit-hv-vcpu-out)/$(unit-hv-vcpu-in)/test_%.o $(unit-hv-vcpu-core-objects)
	$(CC) $(unit-hv-vcpu-cflags) $^ -lcmocka -o $@

$(unit-hv-vcpu-out)/test_cpuid: $(unit-hv-vcpu-out)/boards.o

$(unit-hv-vcpu-out)/boards.o: $(BOARDS_C) $(unit-hv-vcpu-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-vcpu-cflags) $(DEPENDS) -c $< -o $@

$(unit-hv-vcpu-out)/test_sched: unit-hv-vcpu-cflags += -Wl,--wrap=vcpu_poll
$(unit-hv-vcpu-out)/test_pages: unit-hv-vcpu-cflags += -Wl,--wrap=pages_map_gpa_range

$(unit-hv-vcpu-out)/%.passed: $(unit-hv-vcpu-out)/test_%
	$<
	@touch $@

-include $(call dependencies,$(unit-hv-vcpu-out))
