# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What Linux in a guest believes of the processor's faults is what the processor and hv do about them.

On a Milan it is asked in test_launch.py; here on a Naples (family 17h, model 1), which has neither SPEC_CTRL nor anything else
that a guest could switch. Linux would take LS_CFG for a switch of SSBD there, if a read of it did not fault.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev


def test_linux_believes_in_no_mitigation_that_is_not_there(pack: Callable[..., Path], boot_sev: Boot) -> None:
    naples = machines.sev_machine.cpu().replace("EPYC-Milan", "EPYC")
    efi = pack("naples", [packing.linux("linux", "sev", "sevisor.input=1")])
    with boot_sev(packing.bootable(efi), name="naples", cpu_model=naples) as machine:
        assert machine.wait_off() == "guest-shutdown"
        lines = sayings.guest_lines(machine.console.text, "linux")
    assert "sevisor-linux: self-check passed" in lines
    kernel = "\n".join(lines)
    assert "Speculative Store Bypass: Vulnerable" in kernel
    assert "Indirect Branch Prediction Barrier" not in kernel
    assert "unchecked MSR access" not in kernel and "WARNING: CPU" not in kernel
