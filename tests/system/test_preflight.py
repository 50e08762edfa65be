# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A SEV machine whose BIOS or manifest is not right: said in words, with the remedy, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import machines
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev


def test_svm_locked_by_the_bios_returns_to_the_firmware(build: Path, boot_sev: Boot, next_image: Path) -> None:
    with boot_sev(build / "sevisor.img", next_image, name="svm-locked", svm_disable=True, svm_lock=True) as machine:
        attendant.hit_key_at_refusal(machine)
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert "VM_CR" in text[: text.index("next boot option")]
    assert "hv runs" not in text


def refusals(
    name: str, encrypted: packing.GuestSpec, pack: Callable[..., Path], boot_sev: Boot,
    console: str = "port 0x3f8 (ConOut), 115200", **machine_options,
) -> dict[str, str]:  # fmt: skip
    """What is said of an encrypted guest beside a plain one that runs."""
    efi = pack(name, [encrypted, packing.hello("plain", "none")])
    with boot_sev(packing.bootable(efi), name=name, **machine_options) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
        firmware_line = machine.folder / machines.FIRMWARE_LINE
        preflight = firmware_line.read_text(errors="replace") if firmware_line.exists() else text
    assert ("plain", "poweroff") in [end[:2] for end in sayings.ends(text)]
    assert "asking the UEFI firmware" not in text  # ACPI was enough
    assert re.search(rf"^ ok +console +a 16550 UART +{re.escape(console)}\s*$", preflight, re.MULTILINE), preflight
    return sayings.refusals(text)


def test_cpu_without_sev_refuses_encrypted_guests_only(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """Its only serial port is COM2, and no table tells of it."""
    refused = refusals(
        "no-sev",
        packing.hello("own-key", "sev"),
        pack,
        boot_sev,
        "port 0x2f8 (ConOut), 115200",
        sev=False,
        uart=machines.COM2,
    )
    assert set(refused) == {"own-key"} and "SEV" in refused["own-key"]


def test_memory_encryption_off_in_the_bios_is_turned_on(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """SYSCFG.MemEncryptionModEn is boot/'s to set where the BIOS left it clear and unlocked; but not while the firmware
    runs, whose drivers reach for devices above the address width that is left then."""
    efi = pack("smee-off", [packing.hello("own-key", "sev")])
    xhci = ["-device", "qemu-xhci,id=xhci"]
    with boot_sev(packing.bootable(efi), name="smee-off", smee=False, more_arguments=xhci) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert re.search(
        r"^ note   memory encryption    SYSCFG\[23\] +off; Sevisor turns it on\n +-> BIOS: .*SMEE", text, re.M
    )
    assert re.search(
        r"^ note   PCI addresses        below 2\^\d+ +1 are above\n +-> 00:[0-9a-f]{2}\.0 out of reach", text, re.M
    )
    assert any("SEV active" in line for line in sayings.guest_lines(text, "own-key"))
    assert text.rstrip().split("\n")[-1] == sayings.FINAL_LINE


def test_secure_processor_that_refuses_is_known_before_the_firmware_is_gone(
    pack: Callable[..., Path], boot_sev: Boot, next_image: Path
) -> None:
    """As a board answered to PLATFORM_STATUS: a row, the registers, and the next boot option."""
    image = packing.bootable(pack("psp-8003", [packing.hello("own-key", "sev")]))
    with boot_sev(image, next_image, name="psp-8003", fault="status:PLATFORM_STATUS:0x8003") as machine:
        attendant.hit_key_at_refusal(machine)
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert "psp: registers: command 0x80008003, " in text
    assert re.search(
        r"^ no SEV SEV firmware .*\n +-> PLATFORM_STATUS: undocumented status \(0x8003\): .*Update the BIOS", text, re.M
    )
    assert re.search(r"^ STOP   guests .* 0 of 1 can run", text, re.M)
    assert "hv runs" not in text


def test_guests_that_this_platform_cannot_run_are_known_before_the_firmware_is_gone(
    pack: Callable[..., Path], boot_sev: Boot, next_image: Path
) -> None:
    """A policy that wants SEV API 2.0, and a pin to a CPU that is not there: rows with the guests' names."""
    guests = [
        packing.hello("future", "sev", policy=packing.NODBG | 2 << 16),
        packing.hello("far", "none", pins=[7]),
    ]
    with boot_sev(packing.bootable(pack("unfit", guests)), next_image, name="unfit", cpus=2) as machine:
        attendant.hit_key_at_refusal(machine)
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert re.search(
        r"^ note   SEV API of policies  .*\n +-> 1 guests refused \(future\): .*lower the version in the policy",
        text,
        re.M,
    )
    assert re.search(
        r"^ note   CPUs of pins .* 0 to 1\n +-> 1 guests refused \(far\): change pins in guests.toml", text, re.M
    )
    assert re.search(r"^ STOP   guests .* 0 of 2 can run", text, re.M)
    refusals = text.partition("Refused because of:")[2]
    assert "note   SEV API of policies" in refusals and "note   CPUs of pins" in refusals
    assert "hv runs" not in text


def test_init_that_is_refused_leads_to_the_next_boot_option(
    pack: Callable[..., Path], boot_sev: Boot, next_image: Path
) -> None:
    """INIT comes when the firmware is gone: a reset leads back, with BootNext set so that the order goes on."""
    image = packing.bootable(pack("init-refused", [packing.hello("own-key", "sev")]))
    with boot_sev(image, next_image, name="init-refused", fault="status:INIT:0x13") as machine:
        machine.qmp.command("set-action", reboot="reset")
        machine.wait_for(r"error: the machine is reset in 60 seconds, or at a key, into the next boot option")
        machine.send(b" ")
        machine.wait_for(r"^sevisor: boot option [0-9a-f]{4}, which follows, is next \(BootNext\)")
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert re.search(r"error: no guest runs: own-key is refused: INIT: HWERROR_PLATFORM \(0x13\): .*Enable SMEE", text)
    assert "psp: registers: command 0x80000013, buffer low 0xbad00013 high 0x00000001, " in text
    assert text.count("Sevisor preflight") == 1


def test_what_the_boot_manager_passes_over_is_not_the_next_option(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """OVMF has its set-up among the options, behind the disk: an application, which BootNext would start. The shell follows."""
    with boot_sev(
        packing.bootable(pack("alone", [packing.hello("own-key", "sev")])), name="alone", fault="status:INIT:0x13"
    ) as machine:
        machine.qmp.command("set-action", reboot="reset")
        machine.wait_for(r"error: the machine is reset in 60 seconds, or at a key")
        machine.send(b" ")
        option = machine.wait_for(r"^sevisor: boot option ([0-9a-f]{4}), which follows, is next \(BootNext\)")[1]
        started = machine.wait_for(rf"(?s)is next.*BdsDxe: starting Boot{option.upper()} ([^\n]*)\n")[1]
    assert "Shell" in started


def test_launches_that_are_all_refused_lead_there_too_when_they_could_be_read(
    pack: Callable[..., Path], boot_sev: Boot, next_image: Path
) -> None:
    """Nobody hits a key. The other CPU, which watches this one, sees nothing wrong in a minute's wait."""
    guests = [packing.hello(name, "sev") for name in ("own-key", "other")]
    with boot_sev(
        packing.bootable(pack("all-refused", guests)), next_image, name="all-refused", cpus=2, fast_clock=machines.FAST_CLOCK,
        fault="status:LAUNCH_START:0x07",
    ) as machine:  # fmt: skip
        machine.qmp.command("set-action", reboot="reset")
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert set(sayings.refusals(text)) == {"own-key", "other"}
    assert text.count("psp: registers: command 0x80000007, ") == 2
    assert re.search(
        rf"sev: SHUTDOWN .*\n(?:.*\n)*{sayings.FINAL_LINE_NOT}\n"
        r".*error: no guest runs: own-key is refused: LAUNCH_START: POLICY_FAILURE \(0x07\): .*\n"
        r".*error: the machine is reset in 60 seconds, or at a key, into the next boot option\n"
        r"sevisor: boot option [0-9a-f]{4}, which follows, is next", text,
    )  # fmt: skip
    assert "stuck" not in text


def test_wrong_cbitpos_is_refused_with_the_right_one(pack: Callable[..., Path], boot_sev: Boot, tmp_path: Path) -> None:
    """The operator's line is in memory, where SPCR tells; the preflight is on the firmware's."""
    refused = refusals(
        "cbitpos", packing.hello("own-key", "sev", cbitpos=47), pack, boot_sev, "memory 0xfedc9000 (SPCR), 115200",
        uart=machines.uart_in_memory(tmp_path / "spcr"),
    )  # fmt: skip
    assert set(refused) == {"own-key"} and "51" in refused["own-key"]


def test_without_a_console_guests_run_and_the_row_says_so(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """The firmware has a driver for a card that hv does not look for."""
    efi = pack("silent", [packing.hello("plain", "none")])
    with boot_sev(packing.bootable(efi), name="silent", psp=False, uart=machines.PCI_CARD) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert re.search(r"^ note +console +a 16550 UART +none\s+-> no output, no keys: BIOS: ", text, re.MULTILINE), text
    assert "hv runs" not in text
