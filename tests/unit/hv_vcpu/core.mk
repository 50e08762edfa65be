# SPDX-License-Identifier: BSD-2-Clause-Patent
# What the tests of the vCPU core and the fuzzer of the exits link: hv/'s own files, and the rig below them.
unit-hv-vcpu-core := tests/unit/hv_vcpu/rig.c tests/unit/fake_uart.c $(addprefix hv/, \
	console/console.c console/line.c console/log.c console/mca_log.c console/output.c console/serial.c \
	cpu/clock.c cpu/lapic.c cpu/mca.c cpu/smp.c dev/pvclock.c dev/vlapic.c dev/vpower.c dev/vuart.c init/loop.c \
	lib/heap.c lib/text.c mm/page.c mm/view.c svm/asid.c svm/npt.c svm/switch.c svm/vmcb.c \
	vm/debug.c vm/event.c vm/exit.c vm/exit_cache.c vm/exit_cpuid.c vm/exit_cr.c vm/exit_dispatch.c vm/exit_io.c vm/exit_msr.c \
	vm/exit_npf.c vm/fair.c vm/guest.c vm/ipi.c vm/pages.c vm/run.c vm/sched.c vm/vcpu_clock.c vm/vcpu_cr.c \
	vm/vcpu_poll.c vm/vcpu_start.c vm/watch.c)
