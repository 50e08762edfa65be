# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A guest goes from Sevisor to KVM, and one from KVM to Sevisor, on the same platform, and each counts on as if nothing had happened.

The sender is the one implementation of SEND_*, the receiver the other one of RECEIVE_*. tests/system/guest/mover.c, which needs no
more here than x2APIC, a UART at ports and CPUID, looks at each count whether memory and registers are still as it has set them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import kernels
import linux
import machines
import owner_side
import packing
import pytest
from emulator import Emulator
from launch_program import LaunchProgram
from operator_side import ask_amd, ctl
from packing import GuestSpec

sys.path.insert(0, str(packing.ROOT / "guest"))

from ctl import stream  # noqa: E402

pytestmark = pytest.mark.referee

NAME, MEMORY = "mover", 4 << 20
CARRIED = "carried"  # what Linux writes to its second serial port
# kvmcarry.c's file; and of guest/control.h the states' sizes, and where the clock's rate is.
START, NUMBER = struct.Struct("<II2084s128s"), struct.Struct("<I")
GUEST_STATE, VCPU_STATE, TSC_HZ = 4152, 1760, 32

ERRAND = f"""
echo carry: from Sevisor
kvmrun /guests.manifest {NAME} --lines 8 --receive /come
echo carry: from KVM
kvmrun /guests.manifest {NAME} --lines 6 --send /kds/cek /kds/ask_ark /dev/ttyS1
"""


def to_kvm(data: bytes) -> bytes:
    records = list(stream.Reader(io.BytesIO(data)).records())
    about = records[0]
    assert isinstance(about, stream.Header)
    pages = [record for record in records if isinstance(record, stream.Page)]
    states = [record.data for record in records if isinstance(record, stream.State)]
    assert all(page.private for page in pages) and [*map(len, states)] == [GUEST_STATE, VCPU_STATE]
    start = START.pack(about.policy, len(pages), about.pdh, about.session)
    return start + b"".join(NUMBER.pack(page.number) + page.data for page in pages) + b"".join(states)


def to_sevisor(data: bytes, status: dict) -> bytes:
    """`data` ends with the file: the UEFI firmware writes to that port, too. `status`: of the platform that it is for."""
    record = NUMBER.size + stream.PACKET
    data = data[-(START.size + MEMORY // stream.PAGE * record + GUEST_STATE + VCPU_STATE) :]
    policy, count, pdh, session = START.unpack_from(data)
    assert count == MEMORY // stream.PAGE
    api = (*map(int, status["api"].split(".")), status["build"])
    header = stream.Header(
        NAME, policy, api, status["version"], 1, MEMORY, hashlib.sha256(pdh).digest(), pdh, session
    )  # fmt: skip
    sink = io.BytesIO()
    writer = stream.Writer(sink, header, bytes(stream.bitmap_size(count)))
    at = START.size
    for _ in range(count):
        writer.page(stream.Page(*NUMBER.unpack_from(data, at), data[at + NUMBER.size : at + record], True))
        at += record
    # The machines' TSCs have one rate, which each measures on a computer that does other things, too.
    whole = bytearray(data[at : at + GUEST_STATE])
    struct.pack_into("<Q", whole, TSC_HZ, status["tsc-khz"] * 1000)
    writer.state(stream.State(bytes(whole), None))
    writer.state(stream.State(data[at + GUEST_STATE :], 0))
    writer.end()
    return sink.getvalue()


def counts(text: str) -> list[int]:
    """What a guest counted, without a word of something that is wrong."""
    assert "is wrong" not in text
    return [int(number) for number in re.findall(r"mover: count (\d+)\r?$", text, re.M)]


def go_on(numbers: list[int], last: int) -> bool:
    """A line that the end of the other run cut in two is none."""
    return numbers[0] in (last + 1, last + 2) and numbers == [*range(numbers[0], numbers[0] + len(numbers))]


@dataclass
class Carried:
    left: list[int]  # Sevisor's guest, before
    to_kvm: bytes
    host: linux.Host
    to_sevisor: bytes
    arrived: list[int]  # KVM's guest, afterwards
    commands: list[machines.Command]
    counters: dict[str, int]

    def part(self, number: int) -> str:
        return self.host.text.split("carry: from ")[number]


@pytest.fixture(scope="module")
def carried(
    build: Path, programs: dict[str, Path], sevfw_tool: str, tmp_path_factory: pytest.TempPathFactory
) -> Carried:
    folder = tmp_path_factory.mktemp("carry")
    platform, amd = owner_side.make_platform(build, folder), ask_amd(build, folder)
    keys = {"image": "${BUILD}/mover.bin", "cmdline": f"marker={NAME} private"}
    guest = GuestSpec(NAME, "4M", "sev", keys, policy=packing.NODBG, flags=("snapshot",))
    efi = packing.pack([packing.control(), guest], build, folder, "carry")
    image = packing.bootable(efi)

    @contextmanager
    def sevisor(name: str) -> Iterator[Emulator]:
        place = tmp_path_factory.mktemp(name)
        arguments = machines.sev(place, nv=platform.nv, cpus=2)
        with Emulator(
            arguments, [image], name=name, folder=place, uart=[*machines.COM1, *machines.CONTROL_LINE]
        ) as machine:
            try:
                machine.wait_for(rf"^{NAME}\| mover: count 5\b")
                yield machine
            finally:
                print(machine.console.text, machine.words())

    with sevisor("before") as machine:
        ctl(machine, "pause", NAME)
        ctl(machine, "snapshot", NAME, folder / "snapshot", *amd.words())
        left = counts(machine.console.text)
    (folder / "come").write_bytes(to_kvm((folder / "snapshot").read_bytes()))
    (folder / "guests.manifest").write_bytes(LaunchProgram(efi).manifest())
    files = programs | {name: folder / name for name in ("come", "guests.manifest")}
    files |= {f"kds/{name}": folder / name for name in ("cek", "ask_ark")}
    com2 = ["-chardev", f"file,id=carried,path={CARRIED}", "-serial", "chardev:carried"]
    place = tmp_path_factory.mktemp("kvm")
    host = linux.boot(
        kernels.first_release(), files, ERRAND, place, nv=platform.nv, uart=[*machines.COM1, *com2]
    )  # fmt: skip
    raw = (place / CARRIED).read_bytes()

    with sevisor("after") as machine:
        ctl(machine, "end", NAME, "--wait", "120")
        before = len(counts(machine.console.text))
        made = to_sevisor(raw, json.loads(ctl(machine, "platform", "status", "--json").stdout))
        (folder / "made").write_bytes(made)
        ctl(machine, "restore", NAME, folder / "made")
        machine.wait_for(rf"(?s)^ended {NAME}.*^{NAME}\| mover: count 12\b")
        arrived = counts(machine.console.text)[before:]
        return Carried(
            left,
            (folder / "snapshot").read_bytes(),
            host,
            made,
            arrived,
            machines.trace(machine),
            machines.counters(machine),
        )


def test_sevisors_guest_counts_on_under_kvm(carried: Carried) -> None:
    said = carried.part(1)
    assert re.search(r"^kvmcarry: received \d+ pages$", said, re.M)
    numbers = counts(said)
    assert len(numbers) == 8 and go_on(numbers, carried.left[-1])


def test_kvms_guest_counts_on_under_sevisor(carried: Carried) -> None:
    said = carried.part(2)
    assert re.search(r"^kvmcarry: sent 1024 pages$", said, re.M)
    assert counts(said) == [1, 2, 3, 4, 5, 6]
    assert len(carried.arrived) >= 6 and go_on(carried.arrived, 6)


def test_neither_stream_has_a_word_of_the_guest(carried: Carried, build: Path) -> None:
    code = (build / "guest" / "mover.bin").read_bytes()
    words = b"mover: count "
    assert words in code
    assert not [data for data in (carried.to_kvm, carried.to_sevisor) if words in data or code[:64] in data]


def test_no_stale_cache_line_was_sent_or_received(carried: Carried) -> None:
    for counters in (carried.host.counters, carried.counters):
        assert counters["coherency faults"] == 0
    assert [command.status for command in carried.commands if command.name.startswith("RECEIVE")].count(
        "SUCCESS"
    ) == 1026
