# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Launch and end, again and again: what a guest held is free afterwards, to the last page and ASID.

The same boots answer what the platform is asked for before its first guest: newer firmware, and certificates for owners.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import machines
import owner_side
import packing
import sayings
from machines import Boot
from owner_side import Platform

pytestmark = pytest.mark.sev

LAUNCHES = 10
NEWER = (1, 55, 40)
LASTS = "notice: sev: the PDH survives SHUTDOWN and INIT: sessions made with it stay valid at later starts"
DOES_NOT_LAST = "notice: sev: the PDH does not survive INIT: sessions made before this start cannot be launched"


@dataclass
class Run:
    text: str
    reason: str
    counters: dict[str, int]
    commands: list[machines.Command]
    platform: Platform  # as the console told it


@pytest.fixture(scope="module")
def again(pack: Callable[..., Path], boot_sev: Boot, folder: Path) -> Run:
    """One usable ASID; newer firmware; the platform's certificates at start, and once more by key while a guest runs."""
    guests = [
        packing.hello("again", "sev", "reset", keys={"on_reboot": "restart"}, restarts=LAUNCHES - 1),
        packing.hello("one-too-many", "sev"),
    ]
    firmware = owner_side.make_image(NEWER, folder / "newer.sbin")
    efi = pack("again", guests, firmware=firmware, show_pdh=True)
    with boot_sev(packing.bootable(efi), name="again", asids=1) as machine:
        machine.wait_for(r"^again\| hello: tick 1")
        machine.send(b"\x1dp")
        reason = machine.wait_off()
        platform = owner_side.platform_of(machine.console.raw, machine.folder / machines.NV, folder)
        return Run(machine.console.text, reason, machines.counters(machine), machines.trace(machine), platform)


def blocks(text: str, what: str) -> list[bytes]:
    found = re.findall(rf"^sev pdh: -----BEGIN {what}-----$(.*?)^sev pdh: -----END {what}-----$", text, re.M | re.S)
    return [base64.b64decode("".join(re.findall(r"^sev pdh: (\S+)$", block, re.M))) for block in found]


def test_newer_firmware_is_loaded_before_init_and_measured_with_the_guests(again: Run) -> None:
    assert "notice: sev: DOWNLOAD_FIRMWARE: SEV firmware was 1.55 build 21, is 1.55 build 40 now" in again.text
    names = [command.name for command in again.commands]
    assert names.index("DOWNLOAD_FIRMWARE") < names.index("INIT") and names.count("DOWNLOAD_FIRMWARE") == 1
    assert sayings.measurements(again.text)["again"].api == NEWER


def test_certificates_and_chip_id_are_printed_at_start_and_by_a_key(again: Run) -> None:
    chains, chips = blocks(again.text, "SEV CERTIFICATE CHAIN"), blocks(again.text, "SEV CHIP ID")
    assert len(chains) == len(chips) == 2
    assert chains[0] == chains[1] and len(chains[0]) == 4 * owner_side.CERT_SIZE
    assert chips == [owner_side.CHIP_ID.encode().ljust(64, b"\0")] * 2
    before_the_guests, *_ = again.text.partition("launch again: LAUNCH_START")
    assert "END SEV CHIP ID" in before_the_guests
    assert max(map(len, re.findall(r"^sev pdh: .*$", again.text, re.M))) < 80  # no terminal wraps it
    # One export per INIT: what the key prints is asked of nobody.
    names = [command.name for command in again.commands]
    assert names.count("PDH_CERT_EXPORT") == names.count("INIT") == 2


def test_pdh_that_outlives_init_is_told(again: Run) -> None:
    assert LASTS in again.text and DOES_NOT_LAST not in again.text
    # At start and by the key, behind what they print.
    said = LASTS.removeprefix("notice: sev: ")
    assert len(re.findall(rf"^monitor: {re.escape(said)}\s*$", again.text, re.M)) == 2


def test_ten_launches_in_a_row_with_one_usable_asid(again: Run) -> None:
    text, counters = again.text, again.counters
    assert again.reason == "guest-shutdown"
    assert sayings.refusals(text) == {"one-too-many": "no ASID is free for another encrypted guest"}
    assert [end[:2] for end in sayings.ends(text)] == [("again", "reset")] * LAUNCHES
    assert sayings.guest_lines(text, "again").count("hello: tick 3") == LAUNCHES
    nonces = [line for line in text.split("\n") if line.startswith("measurement again:")]
    assert len(set(nonces)) == LAUNCHES  # each launch was measured anew

    after_refusal, *after_ends = sayings.resources(text)
    assert after_refusal.verdict == "all returned"
    assert len(after_ends) == LAUNCHES
    assert len(set(after_ends)) == 1 and after_ends[0].verdict == "all returned"
    assert after_ends[0].asids == after_refusal.asids + 1  # the one that the guest held

    names = [command.name for command in again.commands]
    for command in ("LAUNCH_START", "ACTIVATE", "LAUNCH_FINISH", "DEACTIVATE", "DECOMMISSION"):
        assert names.count(command) == LAUNCHES
    assert counters["commands rejected"] == counters["coherency faults"] == 0


def test_restart_on_poweroff_and_on_crash_stops_when_the_manifest_says_so(
    pack: Callable[..., Path], boot_sev: Boot, folder: Path
) -> None:
    guests = [
        packing.hello("off", "host", "ticks=1", keys={"on_poweroff": "restart"}, restarts=2),
        packing.hello("fault", "sev", "triple-fault", keys={"on_crash": "restart"}, restarts=1),
        packing.hello("bystander", "none"),
    ]
    damaged = owner_side.make_image(NEWER, folder / "damaged.sbin")
    image = bytearray(damaged[0].read_bytes())
    image[0x200] ^= 1
    damaged[0].write_bytes(image)
    efi = pack("restart", guests, firmware=damaged, show_pdh=True)
    with boot_sev(packing.bootable(efi), name="restart", keep_pdh=False) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    # The platform: damaged firmware is told, and what the BIOS brought goes on; this one makes a new PDH at INIT.
    assert re.search(
        r"error: sev: SEV firmware 1\.55 build 40 was not loaded: DOWNLOAD_FIRMWARE: BAD_SIGNATURE \(0x0a\): .*another family",
        text,
    )
    assert "notice: sev: continuing with SEV firmware 1.55 build 21" in text
    assert sayings.measurements(text)["fault"].api == (1, 55, 21)
    assert DOES_NOT_LAST in text and LASTS not in text
    assert len(blocks(text, "SEV CERTIFICATE CHAIN")) == 1
    hows = [end[:2] for end in sayings.ends(text)]
    assert hows.count(("off", "poweroff")) == 3
    assert hows.count(("fault", "crash")) == 2
    assert hows.count(("bystander", "poweroff")) == 1
    assert sayings.FINAL_LINE_NOT in text.split("\n")  # a crash is never as expected
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_spinning_guest_cannot_starve_another(
    again: Run, pack: Callable[..., Path], boot_sev: Boot, folder: Path
) -> None:
    """It never exits by itself; the operator ends it when the others are done. The other's owner made his session from the
    log of the boot above, and has seen nothing else of this machine."""
    worker = owner_side.make_owner(again.platform, "worker")
    guests = [packing.hello("spinner", "sev", "spin ticks=0"), packing.hello("worker", "sev", session=worker.session)]
    efi = pack("spin", guests)
    with boot_sev(packing.bootable(efi), name="spin", nv=again.platform.nv) as machine:
        machine.wait_for(r"^spinner\| hello: spinning")
        machine.wait_for(r"^ended worker: poweroff")
        machine.send(b"\x1dk1y")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert ("spinner", "destroyed") in [end[:2] for end in sayings.ends(text)]
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
    assert LASTS in text  # a session is in the manifest
    said = sayings.measurements(text)["worker"]
    judged = owner_side.verify(efi, worker, said.api, said.measure + said.nonce)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    chain = folder / "by-console.chain"
    done = subprocess.run(
        [sys.executable, owner_side.TOOL, "export", again.platform.chain, chain], capture_output=True, text=True
    )
    assert owner_side.CHIP_ID.encode().hex() in done.stdout
    assert chain.read_bytes() == blocks(again.text, "SEV CERTIFICATE CHAIN")[0]
