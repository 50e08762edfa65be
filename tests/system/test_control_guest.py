# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control guest's image on its machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import packing
import sayings
from machines import Boot
from packing import GuestSpec


@pytest.mark.stock
def test_a_guest_whose_entry_lacks_control_says_so_and_ends(pack: Callable[..., Path], boot_stock: Boot) -> None:
    guests = [GuestSpec("common", "2M", "none", {"image": "${BUILD}/control.bin", "cmdline": "port=com2"})]
    with boot_stock(packing.bootable(pack("no-control", guests)), name="no-control") as machine:
        machine.wait_off()
        said = sayings.guest_lines(machine.console.text, "common")
    assert said == ["control: this guest is not the control guest: its entry in guests.toml lacks control = true"]
    assert [end[:2] for end in sayings.ends(machine.console.text)] == [("common", "poweroff")]
