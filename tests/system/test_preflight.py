# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A SEV machine whose BIOS or manifest is not right: said in words, with the remedy, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev


def test_svm_locked_by_the_bios_returns_to_the_firmware(build: Path, boot_sev: Boot, next_image: Path) -> None:
    cpu = ["sev-svm-disable=on", "sev-svm-lock=on"]
    with boot_sev(build / "sevisor.img", next_image, name="svm-locked", cpu=cpu) as machine:
        machine.wait_for("next boot option: started")
        text = machine.console.text
    assert "VM_CR" in text[: text.index("next boot option")]
    assert "hv runs" not in text


def refusals_of_encrypted(name: str, pack: Callable[..., Path], boot_sev: Boot, cpu: list[str], **more) -> dict[str, str]:
    """What is said of an encrypted guest beside a plain one that runs."""
    guests = [packing.hello("own-key", "sev", **more), packing.hello("plain", "none")]
    with boot_sev(packing.bootable(pack(name, guests)), name=name, cpu=cpu) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert ("plain", "poweroff") in [end[:2] for end in sayings.ends(text)]
    return sayings.refusals(text)


def test_cpu_without_sev_refuses_encrypted_guests_only(pack: Callable[..., Path], boot_sev: Boot) -> None:
    refused = refusals_of_encrypted("no-sev", pack, boot_sev, ["sev-hide-sev=on"])
    assert set(refused) == {"own-key"} and "SEV" in refused["own-key"]


def test_wrong_cbitpos_is_refused_with_the_right_one(pack: Callable[..., Path], boot_sev: Boot) -> None:
    refused = refusals_of_encrypted("cbitpos", pack, boot_sev, [], cbitpos=47)
    assert set(refused) == {"own-key"} and "51" in refused["own-key"]
