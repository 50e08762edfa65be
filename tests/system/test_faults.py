# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A secure processor that fails: the guest concerned is refused in words, nothing leaks, plain guests still run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import machines
import packing
import sayings
from emulator import Emulator
from machines import Boot

pytestmark = pytest.mark.sev

# SEV API 4.4: statuses that are errors; 0x1e is not defined.
STATUSES = {
    0x01: "INVALID_PLATFORM_STATE", 0x02: "INVALID_GUEST_STATE", 0x03: "INVALID_CONFIG", 0x04: "INVALID_LENGTH",
    0x05: "ALREADY_OWNED", 0x06: "INVALID_CERTIFICATE", 0x07: "POLICY_FAILURE", 0x08: "INACTIVE",
    0x09: "INVALID_ADDRESS", 0x0A: "BAD_SIGNATURE", 0x0B: "BAD_MEASUREMENT", 0x0C: "ASID_OWNED",
    0x0D: "INVALID_ASID", 0x0E: "WBINVD_REQUIRED", 0x0F: "DF_FLUSH_REQUIRED", 0x10: "INVALID_GUEST",
    0x11: "INVALID_COMMAND", 0x12: "ACTIVE", 0x13: "HWERROR_PLATFORM", 0x14: "HWERROR_UNSAFE",
    0x15: "UNSUPPORTED", 0x16: "INVALID_PARAM", 0x17: "RESOURCE_LIMIT", 0x18: "SECURE_DATA_INVALID",
    0x19: "INVALID_PAGE_SIZE", 0x1A: "INVALID_PAGE_STATE", 0x1B: "INVALID_MDATA_ENTRY", 0x1C: "INVALID_PAGE_OWNER",
    0x1D: "AEAD_OFLOW", 0x1F: "RING_BUFFER_EXIT", 0x20: "RMP_INIT_REQUIRED", 0x21: "BAD_SVN",
    0x22: "BAD_VERSION", 0x23: "SHUTDOWN_REQUIRED", 0x24: "UPDATE_FAILED", 0x25: "RESTORE_REQUIRED",
    0x26: "RMP_INIT_FAILED", 0x27: "INVALID_KEY",
}  # fmt: skip
LAUNCH_COMMANDS = ("LAUNCH_START", "ACTIVATE", "LAUNCH_UPDATE_DATA", "LAUNCH_MEASURE", "LAUNCH_FINISH")

PLAIN = packing.hello("plain", "none")


def assert_plain_guest_ran(text: str) -> None:
    assert ("plain", "poweroff") in [end[:2] for end in sayings.ends(text)]
    assert "hello: tick 3" in sayings.guest_lines(text, "plain")


def assert_nothing_leaked(text: str, quarantine: bool = False) -> None:
    """What a secure processor without an answer may still use is set aside, and said so; nothing else is missing."""
    verdicts = {resources.verdict for resources in sayings.resources(text)}
    assert verdicts
    allowed = ("all returned", "all returned but a quarantine of") if quarantine else ("all returned",)
    assert [verdict for verdict in verdicts if not verdict.startswith(allowed)] == []
    if not quarantine:
        assert verdicts == {"all returned"}


# -- statuses --------------------------------------------------------------------------

# Launches go on side by side, so that the next command of a kind is sent right after the one before: it slips through.
SPARE_GUESTS = len(STATUSES) + 8
GUESTS_AT_A_TIME = 100
LATENCY_US = 40_000  # of each command: time to set the next fault before the one after the next


def inject_one_by_one(machine: Emulator, command: str) -> None:
    """Each status once: the next is set as soon as the trace shows that the one before was answered."""
    for count, status in enumerate(STATUSES, start=1):
        machines.set_fault(machine, f"status:{command}:{status:#04x}:count=1")
        while sum(entry.fault is not None for entry in machines.trace(machine)) < count:
            assert not machine.off(), f"the machine was off before status {status:#04x} could be answered"
            time.sleep(0.002)


@pytest.mark.parametrize("command", LAUNCH_COMMANDS)
def test_each_status_of_a_launch_command_refuses_its_guest_and_nobody_else(
    command: str, pack: Callable[..., Path], boot_sev: Boot
) -> None:
    """One boot with a guest per status. A guest that slips through between two faults must run as if nothing was."""
    names = [f"guest{number:02}" for number in range(len(STATUSES) + SPARE_GUESTS)]
    efi = pack(f"status-{command}", [PLAIN, *(packing.hello(name, "sev", "ticks=0") for name in names)])
    with boot_sev(
        packing.bootable(efi), name=f"status-{command}", latency_us=LATENCY_US, memory="2G", asids=GUESTS_AT_A_TIME,
        max_guests=GUESTS_AT_A_TIME,
    ) as machine:  # fmt: skip
        inject_one_by_one(machine, command)
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
        answered = {entry.status for entry in machines.trace(machine) if entry.fault}

    refused = sayings.refusals(text)
    assert answered == set(STATUSES.values())
    assert len(refused) == len(STATUSES)
    for status in STATUSES.values():
        assert [reason for reason in refused.values() if reason.startswith(f"{command}: {status} ")], status
    ended = {name: how for name, how, _ in sayings.ends(text)}
    assert ended == {"plain": "poweroff", **{name: "poweroff" for name in names if name not in refused}}
    assert not [line for name in refused for line in sayings.guest_lines(text, name)]
    assert_plain_guest_ran(text)
    assert_nothing_leaked(text)


# -- no answer ---------------------------------------------------------------------------


def run_with(
    name: str, pack: Callable[..., Path], boot_sev: Boot, look: Callable[[Emulator], None] = lambda machine: None,
    first_waits: bool = False, **machine_options,
) -> str:  # fmt: skip
    """Boots a plain guest between two encrypted ones; what the console said. `look` sees the machine when it is off.

    `first_waits`: the first guest does not end before the second is launched.
    """
    guests = [packing.hello("first", "sev", "hold" if first_waits else ""), PLAIN, packing.hello("second", "sev")]
    efi = pack(name, guests)
    with boot_sev(packing.bootable(efi), name=name, **machine_options) as machine:
        if first_waits:
            machine.wait_for(r"launch second: LAUNCH_FINISH$")
            attendant.wait_for_guest(machine, "first", sayings.HELLO_HOLDS)
            attendant.type_line(machine, 1, "", len(guests))
        assert machine.wait_off() == "guest-shutdown"
        assert_plain_guest_ran(machine.console.text)
        look(machine)
        return machine.console.text


@pytest.mark.parametrize("command", LAUNCH_COMMANDS)
def test_hang_in_a_launch_refuses_that_guest_and_later_ones(
    command: str, pack: Callable[..., Path], boot_sev: Boot
) -> None:
    text = run_with(f"hang-{command}", pack, boot_sev, fault=f"hang:{command}", fast_clock=machines.FAST_CLOCK)
    refused = sayings.refusals(text)
    assert refused["first"].startswith(f"{command}:")
    assert command in refused["second"]
    assert_nothing_leaked(text, quarantine=True)


@pytest.mark.parametrize("command", ["PLATFORM_STATUS", "INIT", "DF_FLUSH", "GET_ID"])
def test_hang_before_any_launch_refuses_all_encrypted_guests(
    command: str, pack: Callable[..., Path], boot_sev: Boot
) -> None:
    text = run_with(f"hang-{command}", pack, boot_sev, fault=f"hang:{command}", fast_clock=machines.FAST_CLOCK)
    refused = sayings.refusals(text)
    assert set(refused) == {"first", "second"}
    assert all(command in reason for reason in refused.values())
    assert_nothing_leaked(text)


@pytest.mark.parametrize("command", ["DEACTIVATE", "DF_FLUSH:skip=1", "DECOMMISSION"])
def test_hang_at_a_guests_end_keeps_its_asid_from_others(
    command: str, pack: Callable[..., Path], boot_sev: Boot
) -> None:
    name = command.split(":")[0]
    text = run_with(
        f"hang-{name}", pack, boot_sev, first_waits=True, fault=f"hang:{command}", fast_clock=machines.FAST_CLOCK
    )
    assert sayings.refusals(text) == {}
    assert {end[:2] for end in sayings.ends(text)} == {(guest, "poweroff") for guest in ("first", "plain", "second")}
    assert f"{name}:" in text
    assert_nothing_leaked(text, quarantine=True)
    if name != "DECOMMISSION":
        assert "quarantine" in sayings.resources(text)[-1].verdict


def test_guest_that_is_said_to_be_active_at_its_end_is_deactivated_again_once(
    pack: Callable[..., Path], boot_sev: Boot
) -> None:
    """DECOMMISSION answers ACTIVE: twice for the guest that ends first, whose ASID is kept from others then; once for the next."""
    commands: list[machines.Command] = []
    text = run_with(
        "active",
        pack,
        boot_sev,
        lambda machine: commands.extend(machines.trace(machine)),
        fault="status:DECOMMISSION:0x12:count=3",
    )
    ends = [(c.name, c.status) for c in commands if c.name in ("DEACTIVATE", "DF_FLUSH", "DECOMMISSION")]
    once, told_again = [("DEACTIVATE", "SUCCESS"), ("DF_FLUSH", "SUCCESS")], [
        ("DEACTIVATE", "INACTIVE"),
        ("DF_FLUSH", "SUCCESS"),
    ]
    active = ("DECOMMISSION", "ACTIVE")
    assert ends[-12:] == [
        *once, active, *told_again, active,
        *once, active, *told_again, ("DECOMMISSION", "SUCCESS"),
    ]  # fmt: skip
    assert (
        len(
            re.findall(
                r"error: (?:first|second): DECOMMISSION: ACTIVE \(0x12\): the guest still has an active ASID", text
            )
        )
        == 1
    )
    assert len(re.findall(r"error: (?:first|second): ASID \d+ stays in quarantine", text)) == 1
    assert sayings.resources(text)[-1].verdict == "all returned but a quarantine of 1 ASIDs, 0 MiB"
    assert_nothing_leaked(text, quarantine=True)


def test_guests_and_operator_go_on_while_a_command_hangs(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """On the one CPU that there is. The hang is half a minute long."""
    work = {"image": "${BUILD}/hostile.bin", "cmdline": "attack=work"}
    guests = [
        packing.hello("worker", "none", keys=work),
        packing.hello("other", "none", keys=work),
        packing.hello("hung", "sev"),
    ]
    with boot_sev(
        packing.bootable(pack("hang-beside", guests)),
        name="hang-beside",
        fault="hang:LAUNCH_START",
        fast_clock=machines.SLOWER_CLOCK,
    ) as machine:
        machine.wait_for(r"^other\| w ")
        attendant.command(machine, "k2y")
        machine.wait_for(r"(?s)^ended other: destroyed.*^resources: .*: all returned$")
        attendant.command(machine, "r2")
        machine.wait_for(r"(?s)^ended other: .*^other\| w ")
        assert "hung is refused" not in machine.console.text  # all that while the command hangs
        machine.wait_for(r"error: hung is refused: ")
        text = machine.console.text
        attendant.command(machine, "k2y")
        attendant.type_line(machine, 1, "", len(guests))
        assert machine.wait_off() == "guest-shutdown"
    asked, ended, hung = (text.index(words) for words in ("other is being ended", "\nresources: ", "hung is refused"))
    assert ended < hung
    assert text[asked:ended].count("\nworker| w ") < 50  # it is not kept waiting
    assert text[ended:hung].count("\nworker| w ") > 100


def test_hang_at_the_very_end_does_not_keep_the_machine_on(pack: Callable[..., Path], boot_sev: Boot) -> None:
    text = run_with("hang-SHUTDOWN", pack, boot_sev, fault="hang:SHUTDOWN", fast_clock=machines.FAST_CLOCK)
    assert "SHUTDOWN: no answer" in text
    assert text.rstrip().split("\n")[-1] == sayings.FINAL_LINE
    assert_nothing_leaked(text)


def test_keys_and_console_live_while_the_secure_processor_hangs_at_the_very_end(
    pack: Callable[..., Path], boot_sev: Boot
) -> None:
    """And the operator need not wait for it."""
    guests = [packing.hello("own-key", "sev"), packing.hello("plain", "none")]
    with boot_sev(packing.bootable(pack("stop", guests)), name="stop", fault="hang:SHUTDOWN") as machine:
        machine.wait_for(r"notice: sev: SHUTDOWN \(Ctrl-\] q ")
        attendant.command(machine, "l")
        machine.wait_for(r"(?s)Ctrl-\] q .*^ no name.*^  2 plain +poweroff")
        attendant.command(machine, "r2")
        machine.wait_for(r"(?s)Ctrl-\] q .*^plain\| hello: .*^ended plain: poweroff")
        attendant.command(machine, "q")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert "SHUTDOWN: no answer" not in text
    assert text.rstrip().split("\n")[-1] == sayings.FINAL_LINE


def test_device_that_never_gets_ready(pack: Callable[..., Path], boot_sev: Boot) -> None:
    text = run_with("never-ready", pack, boot_sev, never_ready=True, fast_clock=machines.FAST_CLOCK)
    assert set(sayings.refusals(text)) == {"first", "second"}
    assert all("ready" in reason for reason in sayings.refusals(text).values())
    assert_nothing_leaked(text)


def test_device_that_is_missing(pack: Callable[..., Path], boot_sev: Boot) -> None:
    text = run_with("no-psp", pack, boot_sev, psp=False)
    assert set(sayings.refusals(text)) == {"first", "second"}
    assert all("secure processor" in reason.lower() for reason in sayings.refusals(text).values())
    assert_nothing_leaked(text)


def test_answers_that_contradict_themselves_are_not_believed(pack: Callable[..., Path], boot_sev: Boot) -> None:
    # Slow enough that all guests wait for INIT: the first of the manifest is served first.
    text = run_with("corrupt", pack, boot_sev, fault="corrupt:LAUNCH_START:count=1", latency_us=100000)
    assert set(sayings.refusals(text)) == {"first"}
    assert "LEAK" not in text
