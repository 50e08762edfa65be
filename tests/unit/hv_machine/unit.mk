# SPDX-License-Identifier: BSD-2-Clause-Patent
# What of hv/ is next to the machine, on a processor whose instructions are written down, under AddressSanitizer and UBSan.
#   make -f tests/unit/hv_machine/unit.mk unit-hv-machine

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk
GNU_EFI_INCLUDE ?= /usr/include/efi

unit-hv-machine-out := $(BUILD)/unit/hv_machine
unit-hv-machine-in := tests/unit/hv_machine
unit-hv-machine-cflags := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror \
	-DGNU_EFI_USE_MS_ABI -isystem $(GNU_EFI_INCLUDE) -isystem $(GNU_EFI_INCLUDE)/x86_64
unit-hv-machine-built-with = $(CC_VERSION) $(unit-hv-machine-cflags)
$(eval $(call record,$(unit-hv-machine-out)/built-with,unit-hv-machine-built-with))
unit-hv-machine-tests := clock cpu uefi psp_platform sev lapic trap panic main dma pci

# What each program links besides its own test_*.c and fake_cpu.c.
unit-hv-machine-clock := hv/cpu/clock.c
unit-hv-machine-cpu := hv/cpu/cpu.c hv/init/cpu_pages.c hv/svm/svm.c
unit-hv-machine-uefi := hv/init/uefi.c hv/lib/pagetable.c boot/ranges.c hv/cpu/clock.c hv/cpu/lapic.c hv/cpu/smp.c
unit-hv-machine-libs-uefi := -Wl,--wrap=lapic_eoi,--wrap=lapic_timer_arm
unit-hv-machine-psp_platform := hv/control/psp_platform.c hv/lib/pci.c hv/lib/mmio.c hv/lib/text.c hv/cpu/clock.c
unit-hv-machine-sev := $(filter-out psp/discover.c,$(sort $(wildcard psp/*.c))) guest/manifest.c guest/manifest_registers.c guest/crc32.c \
	$(addprefix hv/control/,job.c jobs.c launch.c end.c resources.c leak.c report.c wbinvd.c) $(addprefix hv/dev/,vlapic.c vuart.c) \
	$(addprefix hv/svm/,asid.c npt.c switch.c vmcb.c) $(addprefix hv/vm/,debug.c event.c exit.c exit_cache.c exit_npf.c fair.c guest.c ipi.c pages.c sched.c vcpu_cr.c vcpu_poll.c vcpu_start.c) \
	$(addprefix hv/mm/,memory.c page.c view.c) $(addprefix hv/console/,console.c line.c log.c output.c serial.c) \
	$(addprefix hv/cpu/,clock.c lapic.c mca.c smp.c) $(addprefix hv/lib/,heap.c pci.c runs.c text.c) tests/unit/fake_hardware.c tests/unit/fake_uart.c
unit-hv-machine-lapic := hv/cpu/clock.c
unit-hv-machine-trap := hv/init/trap.c hv/cpu/clock.c hv/cpu/lapic.c hv/cpu/smp.c hv/vm/watch.c
unit-hv-machine-libs-trap := -Wl,--wrap=lapic_timer_interrupt,--wrap=smp_wbinvd_interrupt,--wrap=smp_kick_interrupt
unit-hv-machine-panic := hv/init/panic.c hv/lib/text.c
unit-hv-machine-main := hv/init/main.c hv/svm/asid.c $(addprefix hv/console/,console.c line.c log.c serial.c) hv/cpu/clock.c hv/cpu/lapic.c hv/cpu/smp.c \
	$(addprefix hv/mm/,memory.c page.c view.c) hv/lib/runs.c hv/lib/text.c tests/unit/fake_hardware.c tests/unit/fake_uart.c
# In test_main.c: noted, then as they are.
unit-hv-machine-libs-main := $(foreach f,console_init console_drain console_read clock_init view_init page_init memory_init asid_init lapic_use_registers lapic_init,-Wl,--wrap=$(f))
unit-hv-machine-dma := hv/io/dma.c hv/lib/pci.c hv/lib/text.c
unit-hv-machine-pci := hv/lib/pci.c hv/lib/mmio.c hv/lib/text.c

.PHONY: unit-hv-machine
unit-hv-machine: $(unit-hv-machine-tests:%=$(unit-hv-machine-out)/%.passed)

.PRECIOUS: $(unit-hv-machine-out)/%.o

$(unit-hv-machine-out)/%.o: %.c $(unit-hv-machine-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-machine-cflags) $(DEPENDS) -include $(unit-hv-machine-in)/fake_x86.h -c $< -o $@

define unit-hv-machine-program
$(unit-hv-machine-out)/test_$(1): $(patsubst %.c,$(unit-hv-machine-out)/%.o,$(unit-hv-machine-in)/test_$(1).c $(unit-hv-machine-in)/fake_cpu.c \
		$(unit-hv-machine-$(1)))
	$$(CC) $$(unit-hv-machine-cflags) $$^ $(unit-hv-machine-libs-$(1)) -lcmocka -o $$@

$(unit-hv-machine-out)/$(1).passed: $(unit-hv-machine-out)/test_$(1)
	$$<
	@touch $$@
endef
$(foreach t,$(unit-hv-machine-tests),$(eval $(call unit-hv-machine-program,$(t))))

$(unit-hv-machine-out)/test_sev $(unit-hv-machine-out)/test_cpu $(unit-hv-machine-out)/test_uefi: $(unit-hv-machine-out)/boards.o

$(unit-hv-machine-out)/boards.o: $(BOARDS_C) $(unit-hv-machine-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-machine-cflags) $(DEPENDS) -c $< -o $@

-include $(call dependencies,$(unit-hv-machine-out))
