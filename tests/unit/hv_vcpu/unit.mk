# SPDX-License-Identifier: BSD-2-Clause-Patent
# The vCPU core of hv/ under AddressSanitizer and UBSan: nested page tables, ASIDs, exits, events, scheduler.
#   make -f tests/unit/hv_vcpu/unit.mk unit-hv-vcpu

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk

unit-hv-vcpu-out := $(BUILD)/unit/hv_vcpu
unit-hv-vcpu-in := tests/unit/hv_vcpu
unit-hv-vcpu-cflags := -iquote . -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-hv-vcpu-built-with = $(CC_VERSION) $(unit-hv-vcpu-cflags)
$(eval $(call record,$(unit-hv-vcpu-out)/built-with,unit-hv-vcpu-built-with))
unit-hv-vcpu-tests := constants npt asid exits cr mca cpuid msr io event ipi sched accessors
unit-hv-vcpu-core := $(addprefix hv/,svm/npt.c svm/asid.c svm/vmcb.c vm/vcpu_cr.c vm/vcpu_poll.c vm/vcpu_start.c vm/fair.c vm/ipi.c vm/sched.c vm/run.c init/loop.c lib/heap.c vm/event.c vm/exit.c vm/exit_dispatch.c vm/exit_cache.c cpu/mca.c console/mca_log.c vm/exit_cr.c vm/exit_npf.c vm/exit_cpuid.c vm/exit_msr.c vm/exit_msr_list.c vm/exit_io.c \
	dev/vlapic.c dev/vpower.c lib/text.c)
unit-hv-vcpu-core-objects := $(unit-hv-vcpu-core:%.c=$(unit-hv-vcpu-out)/%.o) $(unit-hv-vcpu-out)/$(unit-hv-vcpu-in)/rig.o \
	$(unit-hv-vcpu-out)/$(unit-hv-vcpu-in)/rig_devices.o

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

$(unit-hv-vcpu-out)/%.passed: $(unit-hv-vcpu-out)/test_%
	$<
	@touch $@

-include $(call dependencies,$(unit-hv-vcpu-out))
