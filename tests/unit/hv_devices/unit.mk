# SPDX-License-Identifier: BSD-2-Clause-Patent
# Virtual devices, operator's console, guest lifecycle, under AddressSanitizer and UBSan.
#   make -f tests/unit/hv_devices/unit.mk unit-hv-devices

BUILD ?= .build
include linker/record.mk

unit-hv-devices-out := $(BUILD)/unit/hv_devices
unit-hv-devices-in := tests/unit/hv_devices
unit-hv-devices-cflags := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-hv-devices-built-with = $(CC_VERSION) $(unit-hv-devices-cflags)
$(eval $(call record,$(unit-hv-devices-out)/built-with,unit-hv-devices-built-with))
unit-hv-devices-tests := control control_firmware vlapic vuart pvclock vpower monitor input lifecycle refusal jobs

# What each program links besides its own test_*.c.
unit-hv-devices-console := $(addprefix hv/,console/console.c console/line.c console/log.c console/output.c console/serial.c cpu/clock.c dev/vuart.c lib/text.c) \
	tests/unit/fake_hardware.c
unit-hv-devices-guests := hv/vm/guest.c hv/cpu/lapic.c hv/cpu/smp.c $(unit-hv-devices-console)
unit-hv-devices-monitors := hv/monitor/monitor.c hv/control/report.c $(unit-hv-devices-guests) $(addprefix hv/mm/,page.c view.c) $(unit-hv-devices-in)/fake_control.c
unit-hv-devices-vlapic := hv/dev/vlapic.c
unit-hv-devices-vuart := $(unit-hv-devices-console) tests/unit/fake_uart.c
unit-hv-devices-pvclock := hv/dev/pvclock.c hv/mm/page.c hv/mm/view.c hv/svm/npt.c hv/vm/pages.c hv/vm/vcpu_clock.c $(unit-hv-devices-guests)
unit-hv-devices-vpower := hv/dev/vpower.c
unit-hv-devices-monitor := $(unit-hv-devices-monitors) tests/unit/fake_uart.c
unit-hv-devices-libs-monitor := -Wl,--wrap=console_read
unit-hv-devices-input := $(unit-hv-devices-monitors)
unit-hv-devices-jobs := hv/control/job.c hv/control/jobs.c
unit-hv-devices-lifecycle := $(addprefix hv/control/,lifecycle.c launch.c end.c resources.c leak.c program.c report.c wbinvd.c control_info.c control_debug.c control_firmware.c control_state.c) hv/monitor/monitor.c \
	$(addprefix hv/console/,console.c line.c log.c output.c serial.c) $(addprefix hv/cpu/,clock.c lapic.c mca.c smp.c) $(addprefix hv/mm/,memory.c page.c view.c) \
	$(addprefix hv/svm/,asid.c npt.c switch.c vmcb.c) $(addprefix hv/vm/,debug.c event.c exit.c exit_cache.c exit_cpuid.c exit_cr.c exit_npf.c fair.c guest.c ipi.c pages.c sched.c vcpu_cr.c vcpu_poll.c vcpu_start.c) \
	$(addprefix hv/dev/,vlapic.c vuart.c) $(addprefix hv/lib/,heap.c pci.c runs.c text.c) \
	$(unit-hv-devices-in)/sev_under_test.c $(unit-hv-devices-in)/jobs_under_test.c $(unit-hv-devices-in)/control_under_test.c $(unit-hv-devices-in)/fake_machine.c $(unit-hv-devices-in)/fake_psp.c \
	$(unit-hv-devices-in)/three_guests.c tests/unit/fake_hardware.c tests/unit/fake_uart.c $(sort $(wildcard psp/*.c)) \
	guest/manifest.c guest/manifest_registers.c guest/crc32.c tests/unit/manifest/good.c tests/unit/psp/fake_pci.c \
	$(addprefix tests/machine/firmware/,$(shell cat tests/machine/firmware/sources.txt) kds.c)
unit-hv-devices-refusal := $(unit-hv-devices-lifecycle)
unit-hv-devices-control_firmware := $(unit-hv-devices-lifecycle)
unit-hv-devices-control := $(unit-hv-devices-lifecycle)
# In fake_machine.c: as they are, but they may fail.
unit-hv-devices-wrapped := page_alloc page_free extent_alloc extent_set_view extent_zero npt_create npt_map vcpu_create vcpu_destroy sched_add
unit-hv-devices-libs-lifecycle := -lnettle -lhogweed -lgmp $(unit-hv-devices-wrapped:%=-Wl,--wrap=%)
unit-hv-devices-libs-refusal := $(unit-hv-devices-libs-lifecycle)
unit-hv-devices-libs-control := $(unit-hv-devices-libs-lifecycle)
unit-hv-devices-libs-control_firmware := $(unit-hv-devices-libs-lifecycle)

.PHONY: unit-hv-devices
unit-hv-devices: $(unit-hv-devices-tests:%=$(unit-hv-devices-out)/%.passed)

$(unit-hv-devices-out)/%.o: %.c $(unit-hv-devices-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-hv-devices-cflags) $(DEPENDS) -include $(unit-hv-devices-in)/fake_x86.h -c $< -o $@

define unit-hv-devices-program
$(unit-hv-devices-out)/test_$(1): $(patsubst %.c,$(unit-hv-devices-out)/%.o,$(unit-hv-devices-in)/test_$(1).c $(unit-hv-devices-$(1)))
	$$(CC) $$(unit-hv-devices-cflags) $$^ $(unit-hv-devices-libs-$(1)) -lcmocka -o $$@

$(unit-hv-devices-out)/$(1).passed: $(unit-hv-devices-out)/test_$(1)
	$$<
	@touch $$@
endef
$(foreach t,$(unit-hv-devices-tests),$(eval $(call unit-hv-devices-program,$(t))))

-include $(call dependencies,$(unit-hv-devices-out))
