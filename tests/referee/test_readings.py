# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Two readings, one result: Sevisor and KVM launch the same guests on the same machine.

The same bytes of a manifest, the same owners' sessions, the same Secure Processor (its
persistent data): the launch digests are equal, so the guests' memory is; and what both
asked the Secure Processor for differs only where it is known why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import linux
import machines
import mailbox_trace
import owner_side
import packing
import pytest
import sayings
import test_chain as chain
from emulator import Emulator
from launch_program import LaunchProgram
from mailbox_trace import BRING_UP, END
from owner_side import Owner, Platform

pytestmark = [pytest.mark.referee, pytest.mark.xdist_group("readings")]  # one boot of hv for both kernels

API = (1, 55, 21)  # the machine's default
# All that a policy can ask for without SEV-ES: NODBG, NOKS, NOSEND, DOMAIN, SEV, and API 1.17 or later.
STRICT = 0x1101003B
POLICIES = {"owned": packing.NODBG, "strict": STRICT, "open": packing.NODBG, "linux": packing.NODBG}
NAMES = tuple(POLICIES)
NO_SESSION = ("open",)
RUNNING = 3  # guest state: SEV API 4
GUEST = "guest"  # any of them, as a stage

ERRAND = "\n".join(
    f"echo readings: {name}\nkvmrun /guests.manifest {name}{' --launch-only' if name == 'linux' else ''}"
    for name in NAMES
)

# Why the two do not ask for quite the same, by stage: each difference that there is, and no other.
KNOWN_DIFFERENCES = {
    BRING_UP: {
        "how often: PLATFORM_STATUS":
            "boot/ asks while the firmware can still take the machine back, and hv again when it takes the device over.",
        "only Sevisor: PLATFORM_STATUS":
            "hv asks again after INIT, and tells the operator the state and the owner that INIT left; "
            "Linux goes by INIT's status.",
        "only Sevisor: GET_ID":
            "hv names the chip in its log, so that the operator can fetch its certificate; "
            "Linux asks when a program does (/dev/sev).",
        **dict.fromkeys(
            ("only Sevisor: INIT", "only Sevisor: PDH_CERT_EXPORT", "only Sevisor: SHUTDOWN", "only Sevisor: DF_FLUSH"),
            "A guest has a session, so hv finds out whether the PDH outlives INIT: INIT, PDH_CERT_EXPORT, SHUTDOWN, and again.",
        ),
    },
    GUEST: {
        "how often: LAUNCH_UPDATE_DATA":
            "hv's guest memory is one extent, and neighbouring steps go together, in commands of at most 1 MiB. "
            "KVM sends one command for each run of pages that Linux happened to place one after another, "
            "and kvmrun at least one for each step. The digest knows no borders.",
        "only Sevisor: DF_FLUSH":
            "hv cleans an ASID when its guest ends, by WBINVD and DF_FLUSH: every free one can be used at once. "
            "KVM does WBINVD before DEACTIVATE, collects used ASIDs, and does WBINVD and DF_FLUSH when no other is "
            "left: these few guests never come to that. Both orders are the documented ones.",
        "only KVM: GUEST_STATUS":
            "kvmrun asks, to print policy and state.",
        "only KVM: ATTESTATION":
            "kvmrun asks, for this test: the report has KVM's launch digest.",
    },
    END: {},
}  # fmt: skip


@dataclass
class Launches:
    """What both have to launch."""

    platform: Platform
    owners: dict[str, Owner]
    efi: Path
    program: LaunchProgram
    manifest: Path


@dataclass
class Sevisor:
    text: str
    commands: list[dict]
    counters: dict[str, int]


@pytest.fixture(scope="module")
def launches(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Launches:
    folder = tmp_path_factory.mktemp("owners")
    platform = owner_side.make_platform(build, folder)
    owners = {
        name: owner_side.no_owner(platform, name, policy) if name in NO_SESSION
        else owner_side.make_owner(platform, name, policy)
        for name, policy in POLICIES.items()
    }  # fmt: skip
    guests = [
        (packing.linux if name == "linux" else packing.hello)(
            name, "sev", policy=policy, session=None if name in NO_SESSION else owners[name].session
        )
        for name, policy in POLICIES.items()
    ]
    efi = packing.pack(guests, build, folder, "readings")
    program = LaunchProgram(efi)
    manifest = folder / "readings.manifest"
    manifest.write_bytes(program.manifest())
    return Launches(platform, owners, efi, program, manifest)


@pytest.fixture(scope="module")
def sevisor(launches: Launches, tmp_path_factory: pytest.TempPathFactory) -> Sevisor:
    """One boot of hv for both kernels' tests."""
    folder = tmp_path_factory.mktemp("sevisor")
    arguments = machines.sev(folder, nv=launches.platform.nv)
    image = packing.bootable(launches.efi)
    with Emulator(arguments, [image], name="sevisor", folder=folder, time_limit=300) as machine:
        try:
            machine.wait_off()
            counters = machines.counters(machine)
        finally:
            print(machine.console.text, machine.words())
        return Sevisor(machine.console.text, linux.commands(folder), counters)


@pytest.fixture(scope="module")
def host(kernel: Path, programs: dict[str, Path], launches: Launches, tmp_path_factory) -> linux.Host:
    files = programs | {"guests.manifest": launches.manifest}
    return linux.boot(kernel, files, ERRAND, tmp_path_factory.mktemp("readings"), nv=launches.platform.nv)


@dataclass(frozen=True)
class Reading:
    """What kvmrun printed of one launch."""

    text: str

    def bytes(self, name: str) -> bytes:
        found = re.search(rf"^kvmrun:.* {name} ([0-9a-f]+)\b", self.text, re.MULTILINE)
        assert found, f"kvmrun printed no {name}: {self.text}"
        return bytes.fromhex(found[1])


@pytest.fixture
def reading(host: linux.Host, name: str) -> Reading:
    parts = re.split(r"^readings: (\S+)$", host.text, flags=re.MULTILINE)
    return Reading(dict(zip(parts[1::2], parts[2::2], strict=True))[name])


# -- one result -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_sevisors_measurement_is_the_owners(sevisor: Sevisor, launches: Launches, name: str) -> None:
    said = sayings.measurements(sevisor.text)[name]
    assert (said.policy, said.api) == (POLICIES[name], API)
    answer = said.measure + said.nonce
    verdict = owner_side.verify(launches.efi, launches.owners[name], said.api, answer)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize("name", NAMES)
def test_kvms_measurement_is_the_owners(reading: Reading, launches: Launches, name: str) -> None:
    answer = reading.bytes("measurement") + reading.bytes("nonce")
    verdict = owner_side.verify(launches.efi, launches.owners[name], API, answer)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize("name", NAMES)
def test_both_launch_digests_are_the_packers(sevisor: Sevisor, reading: Reading, launches: Launches, name: str) -> None:
    """By a second reader of the packed file, which shares no code with the packer and the owner's tool.

    Sevisor prints the digest that it was packed with: that the firmware's is the same
    follows from its measurement, which nobody can make for another digest.
    """
    program, tik = launches.program, launches.owners[name].tik
    said = sayings.measurements(sevisor.text)[name]
    digest = program.launch_digest(name)
    assert program.guests[name].expected_digest == sayings.digests(sevisor.text)[name] == digest
    assert said.measure == program.measurement(name, tik, said.api, said.nonce)
    assert reading.bytes("measurement") == program.measurement(name, tik, API, reading.bytes("nonce"))


@pytest.mark.parametrize("name", NAMES)
def test_firmware_attests_kvms_launch_digest(reading: Reading, launches: Launches, name: str) -> None:
    """The same by another way: the report has the digest in the clear, signed by the platform's PEK."""
    report = reading.bytes("report")
    digest = launches.program.launch_digest(name)
    assert report[:0x34] == reading.bytes("nonce") + digest + POLICIES[name].to_bytes(4, "little")
    assert (chain.word(report, 0x34), chain.word(report, 0x38)) == (chain.PEK, chain.ECDSA_SHA256)
    chain.check_ecdsa(chain.public_key(launches.platform.pek()), report[0x40:], report[:0x34])
    assert f"kvmrun: status policy {POLICIES[name]:#x} state {RUNNING}" in reading.text


def test_guests_differ(launches: Launches) -> None:
    """Else one digest for all would do."""
    assert len({launches.program.launch_digest(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "linux"])
def test_guests_run_under_both(sevisor: Sevisor, reading: Reading, name: str) -> None:
    for lines in (sayings.guest_lines(sevisor.text, name), reading.text.splitlines()):
        assert "hello: SEV active (SEV_STATUS 0x1, C-bit 51)" in lines
        assert "hello: tick 3" in lines
    assert "kvmrun: powered off" in reading.text
    assert sevisor.text.rstrip().endswith(sayings.FINAL_LINE)


# -- two ways ---------------------------------------------------------------------------


def test_mailbox_commands_differ_only_where_it_is_known_why(sevisor: Sevisor, host: linux.Host) -> None:
    ours, theirs = (mailbox_trace.stages(commands, NAMES) for commands in (sevisor.commands, host.commands))
    found: dict[str, set[str]] = {stage: set() for stage in KNOWN_DIFFERENCES}
    for stage in (BRING_UP, *NAMES, END):
        rows = mailbox_trace.side_by_side(ours[stage], theirs[stage])
        print(mailbox_trace.table(stage, rows), end="\n\n")
        found[GUEST if stage in NAMES else stage] |= {row.difference() for row in rows} - {""}
    for stage, known in KNOWN_DIFFERENCES.items():
        for difference in sorted(found[stage] & known.keys()):
            print(f"{stage}: {difference}: {known[difference]}")
    assert found == {stage: set(known) for stage, known in KNOWN_DIFFERENCES.items()}


def test_both_flush_the_caches_where_they_must(sevisor: Sevisor, host: linux.Host) -> None:
    """WBINVD and CLFLUSH are no mailbox commands. hv flushes after DEACTIVATE, KVM before it; the machine's checker,
    and DF_FLUSH's own condition, find neither wanting."""
    for counters in (sevisor.counters, host.counters):
        assert (counters["coherency faults"], counters["commands rejected"]) == (0, 0)


def test_command_buffers_are_under_the_hosts_key_in_both(sevisor: Sevisor, host: linux.Host) -> None:
    """SME is on, so both pass addresses with the C-bit. That the addresses *in* the buffers have it too follows
    from the digests: without it the firmware would measure ciphertext. The preflight's own PLATFORM_STATUS comes from
    where the UEFI firmware rules, whose tables have no C-bit."""
    preflight, *ours = sevisor.commands
    assert preflight["command"] == "PLATFORM_STATUS" and int(preflight["address"], 16) >> packing.CBITPOS == 0
    for commands in (ours, host.commands):
        addresses = {int(command["address"], 16) for command in commands} - {0}
        assert addresses and all(address >> packing.CBITPOS == 1 for address in addresses)
        without = {command["command"] for command in commands if int(command["address"], 16) == 0}
        assert without == {"DF_FLUSH", "SHUTDOWN"}
