# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A SEV machine whose BIOS or manifest is not right: said in words, with the remedy, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev


def test_svm_locked_by_the_bios_returns_to_the_firmware(build: Path, boot_sev: Boot, next_image: Path) -> None:
    with boot_sev(build / "sevisor.img", next_image, name="svm-locked", svm_disable=True, svm_lock=True) as machine:
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert "VM_CR" in text[: text.index("next boot option")]
    assert "hv runs" not in text


def refusals(
    name: str, encrypted: packing.GuestSpec, pack: Callable[..., Path], boot_sev: Boot,
    console: str = "port 0x3f8 (ConOut)", **machine_options,
) -> dict[str, str]:  # fmt: skip
    """What is said of an encrypted guest beside a plain one that runs."""
    efi = pack(name, [encrypted, packing.hello("plain", "none")])
    with boot_sev(packing.bootable(efi), name=name, **machine_options) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
        firmware_line = machine.folder / machines.FIRMWARE_LINE
        preflight = firmware_line.read_text(errors="replace") if firmware_line.exists() else text
    assert ("plain", "poweroff") in [end[:2] for end in sayings.ends(text)]
    assert "asking the firmware" not in text  # ACPI was enough
    assert re.search(rf"^ ok +console +a 16550 UART +{re.escape(console)}\s*$", preflight, re.MULTILINE), preflight
    return sayings.refusals(text)


def test_cpu_without_sev_refuses_encrypted_guests_only(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """Its only serial port is COM2, and no table tells of it."""
    refused = refusals(
        "no-sev", packing.hello("own-key", "sev"), pack, boot_sev, "port 0x2f8 (ConOut)", sev=False, uart=machines.COM2
    )
    assert set(refused) == {"own-key"} and "SEV" in refused["own-key"]


def test_memory_encryption_off_in_the_bios_is_turned_on(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """SYSCFG.MemEncryptionModEn is boot/'s to set where the BIOS left it clear and unlocked."""
    assert refusals("smee-off", packing.hello("own-key", "sev"), pack, boot_sev, smee=False) == {}


def test_wrong_cbitpos_is_refused_with_the_right_one(
    pack: Callable[..., Path], boot_sev: Boot, tmp_path: Path
) -> None:
    """The operator's line is in memory, where SPCR tells; the preflight is on the firmware's."""
    refused = refusals(
        "cbitpos", packing.hello("own-key", "sev", cbitpos=47), pack, boot_sev, "memory 0xfedc9000 (SPCR)",
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
