# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The end of the machine: one CPU brings it about, whatever NMIs, machine checks and other CPUs' panics come meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import debugger
import machines
import packing
import sayings
from debugger import RFLAGS, RIP, RSP, Debugger
from emulator import Emulator
from machine_checks import ADDRV, EN, HV_IMAGE_BASE, MEMORY_READ, UC, VAL, address, inject, nmi
from machines import Boot

pytestmark = pytest.mark.sev

CONTAINED = VAL | UC | EN | ADDRV | MEMORY_READ
END, NMI_HANDLER = "shutdown_begin", "shutdown_is_elsewhere"
HLT_FOR_EVER = b"\xf4\xeb\xfd"
NOP = b"\x90"
UNDEFINED = b"\x0f\x0b"
JUMP_TO_ITSELF = b"\xeb\xfe"
CLI = b"\xfa"
CLGI = b"\x0f\x01\xdd"
RFLAGS_IF = 1 << 9


@pytest.fixture
def elf(build: Path) -> Path:
    return build / "hv" / "hv.elf"


def storms(pack: Callable[..., Path], name: str) -> Path:
    """Two CPUs that are never idle."""
    words = {"image": "${BUILD}/hostile.bin", "cmdline": "attack=storm-cpuid ms=4000000000"}
    return packing.bootable(pack(name, [packing.hello(f"storm{i}", "none", pins=[i], keys=words) for i in (0, 1)]))


def wait_for_storms(machine: Emulator) -> None:
    for i in (0, 1):
        attendant.wait_for_guest(machine, f"storm{i}", "hostile: storm-cpuid begins")


def service(hand: Debugger, elf: Path, name: str) -> int:
    """Where the UEFI firmware's runtime service begins."""
    return int.from_bytes(hand.memory(address(elf, f"uefi_{name}"), 8), "little")


def reset_system(hand: Debugger, elf: Path) -> int:
    return service(hand, elf, "reset_system")


REGISTER_SIZE = 24  # struct handoff_register: boot/handoff.h


def acpi_fails(hand: Debugger, elf: Path, resets: bool = False) -> None:
    """Its first register becomes a port that does nothing."""
    hand.overwrite(address(elf, "end_registers") + 2 * REGISTER_SIZE * resets, (0x80).to_bytes(8, "little"))


ASKING = "sevisor: ACPI does not end the machine; asking the UEFI firmware"
CHIPSET = "sevisor: the UEFI firmware does not end the machine; resetting it by port 0xcf9"
CHIPSET_ALONE = "sevisor: the UEFI firmware cannot end the machine; resetting it by port 0xcf9"
NOT_IN_TIME = "sevisor: the UEFI firmware has not returned in time, interrupted"
TAKEN_OVER = "sevisor: the UEFI firmware does not answer, with interrupts disabled: CPU 1 goes on"
WRITE_HANGS = (
    "sevisor: a CPU does not come back from the write to ACPI's register, with interrupts disabled: CPU 1 goes on"
)


def run_cpu_to(hand: Debugger, cpu: int, place: int) -> bool:
    for _ in range(200):
        hand.on(cpu)
        if hand.run_to(place):
            return True
        hand.on(hand.stopped).step()  # off the breakpoint
    return False


def nmi_taken(machine: Emulator, hand: Debugger, elf: Path) -> None:
    """An NMI from outside: the CPU that is looked at is in its handler."""
    cpu = hand.stopped
    nmi(machine)
    assert run_cpu_to(hand, cpu, address(elf, NMI_HANDLER))


def test_nmis_do_not_stop_the_cpu_that_powers_off(
    pack: Callable[..., Path], boot_sev: Boot, elf: Path, tmp_path: Path
) -> None:
    """From the last guest's end into the firmware."""
    socket_path = tmp_path / "gdb"
    image = packing.bootable(pack("nmi", [packing.hello("hello", "none", "hold")]))
    with boot_sev(image, name="nmi", cpus=2, more_arguments=debugger.arguments(socket_path)) as machine:
        attendant.wait_for_guest(machine, "hello", sayings.HELLO_HOLDS)
        with Debugger(socket_path, 0) as hand:
            attendant.type_line(machine, 1, "")
            phases = ["report_summary", "machine_power_off", END, "console_break", "console_flush"]
            acpi_fails(hand, elf)
            for place in [*(address(elf, name) for name in phases), reset_system(hand, elf)]:
                assert hand.run_to(place)
                nmi_taken(machine, hand, elf)
                inject(machine, 0, 4, VAL | EN)
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert sayings.FINAL_LINE in text
    assert text.count(ASKING) == 1 and CHIPSET not in text
    assert "panic" not in text


def test_a_panic_gets_to_its_end_through_nmis_machine_checks_and_itself(
    pack: Callable[..., Path], boot_sev: Boot, elf: Path, tmp_path: Path
) -> None:
    socket_path = tmp_path / "gdb"
    with boot_sev(
        storms(pack, "panic"), name="panic", cpus=2, more_arguments=debugger.arguments(socket_path)
    ) as machine:
        wait_for_storms(machine)
        with Debugger(socket_path, 0) as hand:
            assert run_cpu_to(hand, 0, address(elf, "exit_cpuid"))  # its LINT1 is NMI
            hand.write(RIP, address(elf, "__stack_chk_fail"))
            for name in ("panic", END, "console_break"):
                assert hand.run_to(address(elf, name))
                nmi_taken(machine, hand, elf)
            assert hand.run_to(address(elf, "console_print"))
            inject(machine, 0, 3, CONTAINED)  # hv goes on: it is the end anyway
            assert hand.run_to(address(elf, "machine_power_off"))
            hand.write(RIP, address(elf, "__stack_chk_fail"))
            acpi_fails(hand, elf)
            reset = reset_system(hand, elf)
            assert hand.run_to(reset)
            hand.overwrite(reset, UNDEFINED)
            nmi_taken(machine, hand, elf)
        assert machine.wait_off() == "guest-reset"
        text = machine.console.text
    assert len(re.findall(r"^sevisor: panic: stack smashed", text, re.M)) == 1
    assert len(re.findall(r"^sevisor: panic inside a panic: stack smashed", text, re.M)) == 1
    assert re.search(r"^sevisor: machine check: uncorrected error in bank 3\b", text, re.M)
    assert re.search(rf"^{ASKING}\s+sevisor: #UD invalid opcode at [0-9a-f]+\s+{CHIPSET}\s", text, re.M)


def test_of_two_cpus_that_panic_at_once_one_ends_the_machine(
    pack: Callable[..., Path], boot_sev: Boot, build: Path, elf: Path, tmp_path: Path
) -> None:
    """CPU 1 has the console's lock when it panics; both are on their way to halt the other."""
    words = {"image": "${BUILD}/hostile.bin"}
    guests = [
        packing.hello("storm", "none", pins=[0], keys={**words, "cmdline": "attack=storm-cpuid ms=4000000000"}),
        packing.hello("noise", "none", pins=[1], keys={**words, "cmdline": "attack=uart-lines ms=4000000000"}),
    ]
    socket_path = tmp_path / "gdb"
    # hlt; jmp to it, hv's end in a panic: with a NOP for the HLT a place to wait at.
    parking = HV_IMAGE_BASE + (build / "hv" / "hv.bin").read_bytes().index(HLT_FOR_EVER)
    with boot_sev(
        packing.bootable(pack("two", guests)), name="two", cpus=2, more_arguments=debugger.arguments(socket_path)
    ) as machine:
        attendant.wait_for_guest(machine, "storm", "hostile: storm-cpuid begins")
        attendant.wait_for_guest(machine, "noise", "hostile: uart-lines begins")
        with Debugger(socket_path, 0) as hand:
            assert run_cpu_to(hand, 0, address(elf, "exit_cpuid"))
            hand.write(RFLAGS, hand.read(RFLAGS) & ~RFLAGS_IF)
            hand.overwrite(parking, NOP)
            hand.write(RIP, parking)
            assert run_cpu_to(hand, 1, address(elf, "serial_write"))
            hand.overwrite(parking, HLT_FOR_EVER)
            for cpu in (0, 1):
                hand.on(cpu).write(RIP, address(elf, "__stack_chk_fail"))
            hand.run_to(address(elf, END))
            first = hand.stopped
            # It waits until the other has come as far.
            hand.overwrite(parking, NOP)
            hand.on(first).write(RIP, parking)
            hand.run_to(address(elf, END))
            assert hand.stopped == 1 - first
            hand.overwrite(parking, HLT_FOR_EVER)
            hand.on(first).write(RIP, address(elf, END))
            acpi_fails(hand, elf)
            reset = reset_system(hand, elf)
            hand.run_to(reset)
            hand.overwrite(reset, JUMP_TO_ITSELF)
        assert machine.wait_off() == "guest-reset"
        text = machine.console.text
    assert len(re.findall(r"^sevisor: panic: stack smashed", text, re.M)) == 1
    assert len(re.findall(r"^sevisor: CPU [01] panicked, too: stack smashed", text, re.M)) == 1
    assert text.count("sevisor: powering off") == 1
    assert "panic inside a panic" not in text
    assert re.search(
        rf"^{ASKING}\s+sevisor: the UEFI firmware has not returned in time, interrupted at [0-9a-f]+\s+{CHIPSET}\s",
        text,
        re.M,
    )


@pytest.mark.parametrize("cpus", [1, 2])
def test_firmware_that_disables_interrupts_and_never_returns_has_its_time_and_no_more(
    cpus: int, pack: Callable[..., Path], boot_sev: Boot, elf: Path, tmp_path: Path
) -> None:
    """It runs in guest mode, which an interrupt leaves all the same. No other CPU is needed."""
    socket_path = tmp_path / "gdb"
    image = packing.bootable(pack("deaf", [packing.hello("hello", "none", "hold")]))
    with boot_sev(
        image, name="deaf", cpus=cpus, fast_clock=machines.FAST_CLOCK, more_arguments=debugger.arguments(socket_path)
    ) as machine:  # fmt: skip
        attendant.wait_for_guest(machine, "hello", sayings.HELLO_HOLDS)
        with Debugger(socket_path, 0) as hand:
            attendant.type_line(machine, 1, "")  # the machine stands still: it cannot be off before
            assert hand.run_to(address(elf, "machine_power_off"))
            acpi_fails(hand, elf)
            reset = reset_system(hand, elf)
            assert hand.run_to(reset)
            hand.overwrite(reset, CLI + JUMP_TO_ITSELF)
        assert machine.wait_off() == "guest-reset"
        text = machine.console.text
    assert re.search(rf"^{ASKING}\s+{NOT_IN_TIME} at {reset + 1:x}\s+{CHIPSET}\s", text, re.M)
    assert "panic" not in text


def test_another_cpu_ends_the_machine_when_the_firmware_never_returns_and_no_interrupt_comes(
    pack: Callable[..., Path], boot_sev: Boot, elf: Path, tmp_path: Path
) -> None:
    """As in the handler of an SMI: with GIF clear, here."""
    socket_path = tmp_path / "gdb"
    image = packing.bootable(pack("smm", [packing.hello("hello", "none", "hold")]))
    with boot_sev(
        image, name="smm", cpus=2, fast_clock=machines.FAST_CLOCK, more_arguments=debugger.arguments(socket_path)
    ) as machine:  # fmt: skip
        attendant.wait_for_guest(machine, "hello", sayings.HELLO_HOLDS)
        with Debugger(socket_path, 0) as hand:
            attendant.type_line(machine, 1, "")
            assert hand.run_to(address(elf, "machine_power_off"))
            acpi_fails(hand, elf)
            reset = reset_system(hand, elf)
            assert hand.run_to(reset)
            hand.overwrite(reset, CLGI + JUMP_TO_ITSELF)
        assert machine.wait_off() == "guest-reset"
        text = machine.console.text
    assert re.search(rf"^{ASKING}\s+{TAKEN_OVER}\s+{CHIPSET}\s", text, re.M)
    assert "panic" not in text


def test_so_it_does_when_that_happens_to_bootnext_and_the_cpu_takes_no_nmi_either(
    pack: Callable[..., Path], boot_sev: Boot, elf: Path, next_image: Path, tmp_path: Path
) -> None:
    """ResetSystem() is not called: UEFI 2.9, 8.1."""
    socket_path = tmp_path / "gdb"
    image = packing.bootable(pack("deafer", [packing.hello("hello", "none", "hold")]))
    with boot_sev(
        image, next_image, name="deafer", cpus=2, fast_clock=machines.FAST_CLOCK, more_arguments=debugger.arguments(socket_path)
    ) as machine:  # fmt: skip
        attendant.wait_for_guest(machine, "hello", sayings.HELLO_HOLDS)
        with Debugger(socket_path, 0) as hand:
            attendant.type_line(machine, 1, "")
            assert hand.run_to(address(elf, "machine_power_off"))
            hand.write(RIP, address(elf, "machine_reset"))
            acpi_fails(hand, elf, resets=True)
            place = service(hand, elf, "set_variable")
            assert hand.run_to(place)
            hand.overwrite(place, CLGI + JUMP_TO_ITSELF)
        assert machine.wait_off() == "guest-reset"
        text = machine.console.text
    assert re.search(rf"^{TAKEN_OVER}\s+{ASKING}\s+{CHIPSET_ALONE}\s", text, re.M)
    assert "BootNext" not in text and "panic" not in text


def test_another_cpu_ends_the_machine_when_the_write_to_acpis_register_never_ends(
    pack: Callable[..., Path], boot_sev: Boot, elf: Path, tmp_path: Path
) -> None:
    """As in the handler of an SMI that it raises. The firmware was not called, and is what comes next."""
    socket_path = tmp_path / "gdb"
    image = packing.bootable(pack("smi", [packing.hello("hello", "none", "hold")]))
    with boot_sev(
        image, name="smi", cpus=2, fast_clock=machines.FAST_CLOCK, more_arguments=debugger.arguments(socket_path)
    ) as machine:  # fmt: skip
        attendant.wait_for_guest(machine, "hello", sayings.HELLO_HOLDS)
        with Debugger(socket_path, 0) as hand:
            attendant.type_line(machine, 1, "")
            assert hand.run_to(address(elf, "shutdown_call"))
            behind = int.from_bytes(hand.memory(hand.read(RSP), 8), "little")
            assert hand.run_to(behind)
            hand.overwrite(behind, JUMP_TO_ITSELF)
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert re.search(rf"^{WRITE_HANGS}\s+{ASKING}\s", text, re.M)
    assert CHIPSET not in text and "panic" not in text
