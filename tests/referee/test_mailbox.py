# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The Secure Processor's mailbox, driven from Linux' user space without a driver, as nobody should."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import linux
import pytest
import test_chain as chain
from owner_side import NO_SESSION_TIK

pytestmark = pytest.mark.referee

# init has loaded the drivers; they come back afterwards, and answer.
ERRAND = """
rmmod kvm_amd && rmmod ccp || echo "referee: rmmod ccp failed"
mboxabuse || echo "referee: mboxabuse returned $?"
for module in $(cat /modules/order); do
    case $module in */ccp.ko|*/kvm-amd.ko) insmod $module || echo "referee: insmod $module failed" ;; esac
done
echo "referee: drivers are back"
devsev
"""
# So that what is written while the first two NOPs run comes in time (mboxregs.c).
SLOW = "slow:NOP:500ms:count=2"


@pytest.fixture(scope="module")
def host(kernel: Path, programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> linux.Host:
    folder = tmp_path_factory.mktemp("mailbox")
    return linux.boot(kernel, programs, ERRAND, folder, fault=SLOW, time_limit=200)


def test_each_call_is_answered_as_documented(host: linux.Host) -> None:
    found = re.search(r"^mboxabuse: (\d+) calls, (\d+) misses$", host.text, re.MULTILINE)
    assert found, "mboxabuse did not come to its end"
    assert re.findall(r"^mboxabuse: MISS .*$", host.text, re.MULTILINE) == []
    assert int(found.group(1)) >= 6000 and found.group(2) == "0"


def test_commands_written_while_one_runs_are_ignored(host: linux.Host) -> None:
    busy = [command["id"] for command in host.commands if command.get("fault") == "busy"]
    assert busy == [1, 0x7FF, 0]


def test_launches_before_and_after_random_commands_measure_right(host: linux.Host) -> None:
    text = bytes((i * 7 + i // 256) & 0xFF for i in range(8192))
    found = re.findall(r"^mboxabuse: blob measurement ([0-9a-f]{96})$", host.text, re.MULTILINE)
    assert len(found) == 2
    for measurement in map(bytes.fromhex, found):
        message = bytes([4, 1, 55, 21]) + struct.pack("<I", 0) + hashlib.sha256(text).digest() + measurement[32:]
        assert measurement[:32] == chain.mac(NO_SESSION_TIK, message)


def test_nothing_was_read_from_stale_cache_lines(host: linux.Host) -> None:
    assert host.counters["coherency faults"] == 0


def test_the_drivers_find_the_firmware_again(host: linux.Host) -> None:
    after = host.text.partition("referee: drivers are back")[2]
    assert re.findall(r"^referee: (?:rmmod|insmod) .*failed$", host.text, re.MULTILINE) == []
    assert re.search(r"^devsev: PLATFORM_STATUS ret=0 fw=0x0 api=1.55 build=21 state=[01]", after, re.MULTILINE)
    assert "devsev: done" in after and "referee: done" in after
