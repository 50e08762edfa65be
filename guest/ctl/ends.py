# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The two ends of a SEV guest's way: the guest that is sent (Source), and the one that is received (Target).

What each does is a step; their order is moves.py's. guest/control/README.md has the objects.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .connection import CERTIFICATE_SIZE, Connection
from .errors import Refused, Uncertain, Unreached
from .hostio import Flags
from .link import Link
from .stream import PACKET, PAGE, Page, State

if TYPE_CHECKING:
    from owner.chain import Chain

SHARED, TOUCHED, DIRTY = 1, 2, 4  # a page's byte (guest/control.h, CONTROL_PAGE_*)
POLICY_ES, POLICY_NOSEND, POLICY_DOMAIN = 1 << 2, 1 << 3, 1 << 4
MOST_PAGES = 16384  # of one object of pages' bytes
WHOLE_GUEST = 0xFF  # in place of a vCPU
EACCES = 13
SENT = "sent to another platform"  # in the reason of a guest's end
TSC_TOLERANCE = 4000  # a 4,000th, as hv has it (hv/control/control_state.c)

_SUM = 4
_AT_ONCE = 3  # records in a packet
_TRIES = 3  # of what came damaged
_PUBLIC_KEY = slice(0x10, 0x414)  # of a certificate: SEV API, appendix C


@dataclass(frozen=True)
class Shape:
    """What both ends must have in common, and what the source demands."""

    state: str
    encryption: str
    policy: int
    vcpus: int
    memory: int
    launches: int
    api: tuple[int, int, int]
    control: int
    reason: str  # of its end

    @property
    def pages(self) -> int:
        return self.memory // PAGE


def shape(sevisor: Connection, name: str) -> Shape:
    found, platform = sevisor.status(name), sevisor.platform()
    try:
        major, _, minor = str(platform["api"]).partition(".")
        numbers = [int(found[key]) for key in ("policy", "vcpus", "memory", "launches")]  # type: ignore[arg-type]
        api = (int(major), int(minor), int(platform["build"]))  # type: ignore[arg-type]
        return Shape(
            str(found["state"]), str(found["encryption"]), *numbers, api, int(platform["version"]),  # type: ignore
            str(found.get("end-reason", "")),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError):
        raise Unreached(f"guest {name}: the control guest's status lacks what is needed") from None


def check_policy(name: str, source: Shape, oca: bytes, to: Chain, to_api: tuple[int, int, int] | None) -> None:
    """What the SEV firmware would refuse later, by name. `to_api`: None where nobody knows it yet."""
    policy = source.policy
    if source.encryption != "sev":
        raise Refused(f"guest {name}: is not encrypted with a key of its own (encryption {source.encryption}): "
                      "only SEV guests can be sent")  # fmt: skip
    if policy & POLICY_NOSEND:
        raise Refused(f"guest {name}: its policy {policy:#x} has NOSEND: it may not leave this platform")
    if policy & POLICY_ES:
        raise Refused(f"guest {name}: its policy {policy:#x} demands SEV-ES, which is not sent yet")
    if policy & POLICY_DOMAIN and oca[_PUBLIC_KEY] != to.oca[_PUBLIC_KEY]:
        raise Refused(
            f"guest {name}: its policy {policy:#x} has DOMAIN, and the other platform has another owner (OCA)"
        )
    if to_api is not None:
        check_api(name, policy, to_api)


def check_api(name: str, policy: int, api: tuple[int, int, int]) -> None:
    wanted = (policy >> 16 & 0xFF, policy >> 24)
    if api[:2] < wanted:
        raise Refused(f"guest {name}: its policy {policy:#x} wants SEV API {wanted[0]}.{wanted[1]} of the target, "
                      f"which has {api[0]}.{api[1]}")  # fmt: skip


def _sum(number: int, data: bytes) -> bytes:
    """As guest/control/moves.h says."""
    return zlib.crc32(data, zlib.crc32(number.to_bytes(8, "little"))).to_bytes(_SUM, "little")


def _record_size(private: bool) -> int:
    return _SUM + (PACKET if private else PAGE)


def says_what_it_shares(state: State) -> bool:
    """Of the whole guest (struct control_guest_state): by its MSR MIGRATION_CONTROL."""
    return len(state.data) >= 16 and struct.unpack_from("<I", state.data, 12)[0] == 1


def runs(due: Sequence[tuple[int, bool]]) -> Iterator[tuple[int, int, bool]]:
    """(first page, how many, private): neighbours of one kind, as many as one packet takes."""
    at = 0
    while at < len(due):
        first, private = due[at]
        count = 1
        while count < _AT_ONCE and at + count < len(due) and due[at + count] == (first + count, private):
            count += 1
        yield first, count, private
        at += count


class End:
    """A guest on one side."""

    def __init__(self, link: Link, name: str) -> None:
        self.link, self.name = link, name
        self._handles: dict[str, tuple[Connection, int]] = {}

    @property
    def sevisor(self) -> Connection:
        return self.link.connection

    def shape(self) -> Shape:
        return shape(self.sevisor, self.name)

    def path(self, item: str) -> str:
        return self.sevisor.path(self.name, item)

    def command(self, word: str) -> None:
        self.sevisor.command(self.name, word)

    def _handle(self, item: str, flags: Flags) -> int:
        """An object that stays open as long as the connection does."""
        known = self._handles.get(item)
        if known is None or known[0] is not self.sevisor:
            known = self._handles[item] = (self.sevisor, self.sevisor.objects.open(self.path(item), flags))
        return known[1]

    def let_go(self) -> None:
        """Closes what is open, as the line's other users need it."""
        for connection, handle in self._handles.values():
            if connection is self.link._connection:
                connection.objects.discard(handle)
        self._handles.clear()

    def pause(self) -> None:
        try:
            self.command("pause")
        except (Refused, Uncertain):
            if self.sevisor.state(self.name) != "paused":
                raise

    def resume(self) -> None:
        try:
            self.command("resume")
        except (Refused, Uncertain):
            if self.sevisor.state(self.name) != "running":
                raise


class Source(End):
    """A guest that is sent."""

    def begin(self, to: Chain) -> tuple[int, bytes]:
        """SEND_START to the platform of these certificates: policy, session."""
        self.sevisor.objects.write(self.path("send"), to.bytes())
        found = self.sevisor._exactly(self.path("send"), 4 + 128)
        return int.from_bytes(found[:4], "little"), found[4:]

    def _pages(self, item: str, first: int, count: int) -> bytes:
        """Bytes of pages. Who asks for dirty ones twice, as the first answer was lost, has lost what was dirty: all is then."""
        objects, path = self.sevisor.objects, self.path(f"{item}-{first:x}")
        handle = objects.open(path, Flags.READ)
        twice = objects.packets.repeated
        try:
            for _ in range(_TRIES):
                data = bytearray()
                while len(data) < _SUM + count and (chunk := objects.pread(handle, _SUM + count, len(data), path)):
                    data += chunk
                if len(data) != _SUM + count:
                    raise Unreached(f"{path}: has {len(data)} bytes instead of {_SUM + count}")
                if data[:_SUM] == _sum(first, data[_SUM:]):
                    found = bytes(data[_SUM:])
                    return bytes(byte | DIRTY if byte else 0 for byte in found) if twice else found
            raise Unreached(f"{path}: comes damaged each time")
        finally:
            objects.discard(handle)

    def _all_pages(self, item: str, pages: int) -> bytes:
        return b"".join(
            self._pages(item, first, min(MOST_PAGES, pages - first)) for first in range(0, pages, MOST_PAGES)
        )

    def pages(self, pages: int) -> bytes:
        """A byte each."""
        return self._all_pages("pages", pages)

    def dirty(self, pages: int) -> bytes:
        """The same; what is dirty is so since the last call, and noted anew from now on."""
        return self._all_pages("dirty", pages)

    def take(self, due: Sequence[tuple[int, bool]], runs_on: bool = False) -> Iterator[Page]:
        """Pages, (number, private) each, in their order. `runs_on`: while the guest runs, what it no longer shares is left out."""
        for first, count, private in runs(due):
            try:
                records = self._whole_records(first, count, private)
            except Refused as refusal:
                if private or not runs_on or refusal.errno != EACCES:
                    raise
                if count > 1:
                    yield from self.take([(first, private)], runs_on)
                    yield from self.take([(first + i, private) for i in range(1, count)], runs_on)
                continue
            for i, record in enumerate(records):
                yield Page(first + i, record[_SUM:], private)

    def _whole_records(self, first: int, count: int, private: bool) -> list[bytes]:
        size, item = _record_size(private), "packets" if private else "plain"
        for _ in range(_TRIES):
            data = self._records(item, first, count, size)
            records = [data[at : at + size] for at in range(0, len(data), size)]
            if all(record[:_SUM] == _sum(first + i, record[_SUM:]) for i, record in enumerate(records)):
                return records
        raise Unreached(f"{self.path(item)}: pages from {first} on come damaged each time")

    def _records(self, item: str, first: int, count: int, size: int) -> bytes:
        handle, data = self._handle(item, Flags.READ), bytearray()
        while len(data) < count * size:
            chunk = self.sevisor.objects.pread(
                handle, count * size - len(data), first * size + len(data), self.path(item)
            )
            if not chunk:
                raise Unreached(f"{self.path(item)}: ends at page {first}")
            data += chunk
        return bytes(data)

    def state(self, vcpu: int | None) -> State:
        number = WHOLE_GUEST if vcpu is None else vcpu
        for _ in range(_TRIES):
            data = self.sevisor.objects.read(self.path(f"state-{number:x}"), 1 << 17)
            if len(data) > _SUM and data[:_SUM] == _sum(number, data[_SUM:]):
                return State(data[_SUM:], vcpu)
        raise Unreached(f"{self.path('state')}: comes damaged each time")

    def cancel(self, resume: bool, seconds: float) -> str:
        """SEND_CANCEL, as often as it takes; then the guest is as it was. Returns what the SEV firmware said against it."""

        def work(sevisor: Connection) -> str:
            words = ""
            try:
                self.command("send-cancel")
            except Refused as refusal:  # it was never begun, or is cancelled already
                words = str(refusal)
            if resume and sevisor.state(self.name) == "paused":
                self.resume()
            return words

        return self.link.insist(work, seconds)

    def gone(self, launches: int) -> bool:
        """Whether it was sent: it never runs here again. Refused where it has ended otherwise."""
        found = self.shape()
        if found.launches != launches:
            raise Refused(f"guest {self.name}: has been launched anew meanwhile")
        if found.state in ("ending", "ended"):
            if SENT in found.reason:
                return True
            raise Refused(f"guest {self.name}: has ended meanwhile: {found.reason or 'no reason was given'}")
        return False


class Target(End):
    """A guest that is received."""

    def check(self, source: Shape) -> Shape:
        """That this can become the source's guest."""
        found = self.shape()
        if found.state not in ("none", "ended", "refused"):
            raise Refused(f"guest {self.name} of the target: is {found.state}: end it first, its place is needed")
        if found.encryption != "sev":
            raise Refused(f"guest {self.name} of the target: has encryption {found.encryption}, not sev")
        if (found.vcpus, found.memory) != (source.vcpus, source.memory):
            raise Refused(
                f"guest {self.name} of the target: has {found.vcpus} vCPUs and {found.memory} bytes of memory, "
                f"the guest that comes {source.vcpus} and {source.memory}"
            )
        if found.control != source.control:
            raise Refused(
                f"the target's Sevisor has version {found.control} of guests' states, the source's {source.control}"
            )
        return found

    def platform(self) -> bytes:
        """PDH, PEK, OCA, CEK."""
        return self.sevisor.pdh() + self.sevisor.chain()

    def begin(self, policy: int, pdh: bytes, session: bytes, seconds: float) -> None:
        """Allocates it, then RECEIVE_START and ACTIVATE."""
        if len(pdh) != CERTIFICATE_SIZE:
            raise ValueError("the certificate has 2084 bytes")
        self.command("receive")
        self._wait("session", seconds)
        self.sevisor.session(self.name, policy, pdh, session)
        self._wait("receiving", seconds)

    def _wait(self, state: str, seconds: float) -> None:
        found = self.sevisor.wait(self.name, state, "ended", "refused", seconds=seconds)
        if found != state:
            reason = self.shape().reason or "no reason was given"
            raise Refused(f"guest {self.name} of the target: cannot be received: {reason}")

    def put(self, pages: Sequence[Page]) -> None:
        """In any order; what comes again replaces what came."""
        found = {page.number: page for page in pages}
        for first, count, private in runs([(page.number, page.private) for page in pages]):
            size, item = _record_size(private), "packets" if private else "plain"
            data = b"".join(
                _sum(number, found[number].data) + found[number].data for number in range(first, first + count)
            )
            handle, done = self._handle(item, Flags.WRITE), 0
            while done < len(data):
                done += self._put(handle, data[done:], first * size + done, item, size)

    def _put(self, handle: int, data: bytes, offset: int, item: str, size: int) -> int:
        """Damaged on the line, or answered as refused for it: again."""
        for tried in range(_TRIES):
            try:
                return self.sevisor.objects.pwrite(handle, data, offset, self.path(item), unit=size)
            except Refused as refusal:
                if tried == _TRIES - 1 or "damaged on the line" not in str(refusal):
                    raise
        raise AssertionError

    def check_tsc(self, state: State) -> None:
        """Of the whole guest (struct control_guest_state): hv refuses it then, but cannot say why."""
        if len(state.data) < 40:
            return
        (comes,) = struct.unpack_from("<Q", state.data, 32)
        here = int(self.sevisor.platform()["tsc-khz"]) * 1000  # type: ignore[call-overload]
        if abs(comes - here) * TSC_TOLERANCE > here:
            raise Refused(
                f"guest {self.name}: its TSC runs at {comes / 1e6:.3f} MHz, the target's at {here / 1e6:.3f} MHz: they may "
                "differ by 250 in a million, since its clock would be wrong"
            )

    def state(self, state: State) -> None:
        number = WHOLE_GUEST if state.vcpu is None else state.vcpu
        if state.vcpu is None:
            self.check_tsc(state)
        self.sevisor.objects.write(self.path(f"state-{number:x}"), _sum(number, state.data) + state.data)

    def finish(self) -> None:
        """RECEIVE_FINISH: all of it is here, and waits."""
        self.command("receive-finish")
        found = self.sevisor.state(self.name)
        if found != "receiving":
            raise Refused(f"guest {self.name} of the target: is {found} when all of it has come")

    def drop(self, seconds: float) -> None:
        """Ends what has come, of which nothing has run."""

        def work(sevisor: Connection) -> None:
            if sevisor.state(self.name) in ("launching", "session", "receiving"):
                self.command("end")

        self.link.insist(work, seconds)

    def put_all(self, pages: Iterable[Page]) -> int:
        """As they come; returns their bytes."""
        held: list[Page] = []
        count = 0
        for page in pages:
            held.append(page)
            count += len(page.data)
            if len(held) == _AT_ONCE:
                self.put(held)
                held.clear()
        self.put(held)
        return count
