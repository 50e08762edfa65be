# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What an operator can ask of Sevisor, as typed functions.

    with Connection.open("unix:/run/sevisor") as sevisor:
        sevisor.launch("web")
        sevisor.wait("web", "running", seconds=60)

Refusals raise Refused with the hypervisor's words, a bad line raises Unreached; both are ControlErrors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from . import tables
from .errors import Refused, TimedOut, Unreached
from .hostio import ERRNO, Flags, HostIO
from .rsp import DEFAULT_SIZE, LARGEST, SMALLEST_SIZE, Packets
from .transport import Address, Line, connect

STATES = ("none", "launching", "session", "held", "running", "paused", "ending", "ended", "refused", "receiving")
STANDING = ("none", "ended", "refused")  # nothing of the guest is left: it can be launched
PLATFORM_COMMANDS = ("pek-gen", "pdh-gen", "df-flush", "nop", "shutdown", "init", "reset")

CERTIFICATE_SIZE = 2084
SESSION_SIZE = 128
SECRET_HEADER_SIZE = 52
LARGEST_SECRET = 16 << 10
STATE_SIZE = 0x8000  # INIT_EX
ANY_ADDRESS = (1 << 64) - 1  # of a secret: where the manifest wants it
ENOSPC = 28

Value = str | int | list[int]
Status = dict[str, Value]

_NAME = re.compile("[a-zA-Z0-9._-]{1,31}", re.ASCII)
_TEXT_KEYS = frozenset(("name", "api", "digest", "measure", "mnonce", "refusal", "end-reason"))
_POLL_SECONDS = 0.2


def is_guest_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def typed(key: str, text: str) -> Value:
    """A status' value: numbers as numbers."""
    if key in _TEXT_KEYS:
        return text
    if re.fullmatch("[0-9]{1,20}( +[0-9]{1,20})+", text, re.ASCII):
        return [int(word) for word in text.split()]
    if re.fullmatch("[0-9]{1,20}", text, re.ASCII):
        return int(text)
    return int(text, 16) if re.fullmatch("0x[0-9a-fA-F]{1,16}", text, re.ASCII) else text


class Connection:
    """One client at a time: the control guest has one line."""

    def __init__(self, line: Line, timeout: float = 30.0) -> None:
        self._line = line
        packets = Packets(line, timeout)
        self.objects = HostIO(packets)
        try:
            answer = packets.request(
                b"qSupported:multiprocess+;xmlRegisters=i386",
                lambda found: found == b"" or b"PacketSize=" in found,
            )
        except BaseException:
            line.close()
            raise
        found = re.search(rb"(?:^|;)PacketSize=([0-9a-fA-F]{1,8})(?:;|$)", answer)
        packets.size = max(SMALLEST_SIZE, min(int(found[1], 16), LARGEST)) if found else DEFAULT_SIZE

    @classmethod
    def open(cls, to: str | Address, timeout: float = 30.0) -> Connection:
        """`to`: /dev/ttyUSB0[@115200], tcp:HOST:PORT or unix:PATH; else ValueError."""
        address = Address.parse(to) if isinstance(to, str) else to
        return cls(connect(address, min(timeout, 10.0)), timeout)

    def close(self) -> None:
        self._line.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------- guests

    @staticmethod
    def path(name: str, item: str) -> str:
        if not is_guest_name(name):
            raise Refused(f"{name[:40]!r} cannot be the name of a guest: 1 to 31 of [a-zA-Z0-9._-]")
        return f"/guest/{name}/{item}"

    def guests(self) -> list[Status]:
        """A row each: guest (process id in GDB), name, state, encryption, vcpus, memory, policy, asid, launches."""
        rows = tables.osdata(self.objects.table("guests"))
        return [{key: typed(key, text) for key, text in row.items()} for row in rows]

    def names(self) -> list[str]:
        return [row["name"] for row in self.guests() if isinstance(row.get("name"), str) and is_guest_name(row["name"])]

    def status(self, name: str) -> Status:
        return self._status(self.path(name, "status"))

    def _status(self, path: str) -> Status:
        found = tables.status(self.objects.read(path, 1 << 16))
        return {key: typed(key, text) for key, text in found.items()}

    def state(self, name: str) -> str:
        found = self.status(name).get("state")
        if found not in STATES:
            raise Unreached(f"guest {name}: the control guest says no state that is known here: {str(found)[:40]}")
        return str(found)

    def command(self, name: str, word: str) -> None:
        """launch, end, pause, resume; and the words of moves.py. What lasts goes on after this returned: see `wait`."""
        self.objects.write(self.path(name, "command"), word.encode())

    def launch(self, name: str) -> None:
        self.command(name, "launch")

    def end(self, name: str) -> None:
        self.command(name, "end")

    def pause(self, name: str) -> None:
        self.command(name, "pause")

    def resume(self, name: str) -> None:
        self.command(name, "resume")

    def relaunch(self, name: str, seconds: float) -> None:
        """Ends the guest if there is something of it, waits until that is over, and launches it."""
        if self.state(name) not in STANDING:
            self.end(name)
        self.wait(name, *STANDING, seconds=seconds)
        self.launch(name)

    def wait(
        self, name: str, *states: str, seconds: float, progress: Callable[[Status], None] | None = None
    ) -> str:  # fmt: skip
        """Until the guest is in one of the states; TimedOut says where it is instead."""
        end = time.monotonic() + seconds
        while True:
            found = self.status(name)
            state = str(found.get("state", ""))
            if state in states:
                return state
            if progress:
                progress(found)
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut(f"guest {name}: is {state[:40]}, not {' or '.join(states)}, after {seconds:g} s")
            time.sleep(min(_POLL_SECONDS, left))

    # -------------------------------------------------------------- consoles

    def follow(self, path: str, forever: bool) -> Iterator[bytes]:
        """What a console or the log keeps; with `forever` also what comes later."""
        handle = self.objects.open(path, Flags.READ)
        position = 0
        try:
            while True:
                data = self.objects.pread(handle, LARGEST, position, path)
                position += len(data)
                if data:
                    yield data
                elif not forever:
                    return
                else:
                    time.sleep(_POLL_SECONDS)
        finally:
            self.objects.discard(handle)

    def console(self, name: str, forever: bool = False) -> Iterator[bytes]:
        return self.follow(self.path(name, "console"), forever)

    def log(self, forever: bool = False) -> Iterator[bytes]:
        return self.follow("/log", forever)

    def send(self, name: str, data: bytes, seconds: float = 30.0) -> None:
        """Input for the guest's UART, which takes some bytes at a time."""
        path = self.path(name, "console")
        handle = self.objects.open(path, Flags.WRITE)
        end = time.monotonic() + seconds
        done = 0
        try:
            while done < len(data):
                try:
                    done += self.objects.pwrite(handle, data[done:], 0, path, once=True)
                except Refused as refusal:
                    if refusal.errno != ENOSPC:
                        raise
                    if time.monotonic() >= end:
                        raise TimedOut(f"guest {name}: took {done} of {len(data)} bytes in {seconds:g} s") from None
                    time.sleep(_POLL_SECONDS)
        finally:
            self.objects.discard(handle)

    # -------------------------------------------------------------- encrypted guests

    def digest(self, name: str) -> bytes:
        """The launch digest that the manifest expects."""
        return self._exactly(self.path(name, "digest"), 32)

    def measurement(self, name: str) -> bytes:
        """MEASURE and MNONCE, as `owner.py measurement verify` takes them."""
        return self._exactly(self.path(name, "measurement"), 48)

    def attest(self, name: str, nonce: bytes) -> bytes:
        """ATTESTATION's report for a nonce of 16 bytes."""
        if len(nonce) != 16:
            raise ValueError("the nonce has 16 bytes")
        report = self._exactly(self.path(name, f"report-{nonce.hex()}"), 208)
        if report[:16] != nonce:
            raise Refused(f"guest {name}: the report is for another nonce: do not trust it")
        return report

    def session(self, name: str, policy: int, dh_cert: bytes, session: bytes) -> None:
        """For a guest in state `session`: what its owner made for this launch."""
        if len(dh_cert) != CERTIFICATE_SIZE or len(session) != SESSION_SIZE:
            raise ValueError("the certificate has 2084 bytes, the session 128")
        self.objects.write(self.path(name, "session"), policy.to_bytes(4, "little") + dh_cert + session)

    def secret(self, name: str, header: bytes, data: bytes, address: int | None = None) -> None:
        """Encrypted by its owner. `address`: guest-physical; without: where the manifest wants it."""
        if len(header) != SECRET_HEADER_SIZE or not data or len(data) % 16 or len(data) > LARGEST_SECRET:
            raise ValueError("the header has 52 bytes, the secret a multiple of 16, 16 KiB at most")
        where = ANY_ADDRESS if address is None else address
        self.objects.write(self.path(name, "secret"), header + where.to_bytes(8, "little") + data)

    # -------------------------------------------------------------- debugging

    def dump(self, name: str, address: int, size: int) -> Iterator[bytes]:
        """Guest-physical memory, as the guest sees it."""
        path = self.path(name, "memory")
        handle = self.objects.open(path, Flags.READ)
        try:
            while size:
                data = self.objects.pread(handle, size, address, path)
                if not data:
                    raise Refused(f"guest {name}: has no memory at {address:#x}")
                address, size = address + len(data), size - len(data)
                yield data
        finally:
            self.objects.discard(handle)

    def poke(self, name: str, address: int, data: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Writes guest-physical memory. After an error the first bytes may be written already."""
        path = self.path(name, "memory")
        handle = self.objects.open(path, Flags.WRITE)
        done = 0
        try:
            while done < len(data):
                done += self.objects.pwrite(handle, data[done:], address + done, path)
                if progress:
                    progress(done)
        finally:
            self.objects.discard(handle)

    def process(self, name: str) -> int:
        """The guest's process id in GDB."""
        self.path(name, "")
        for row in self.guests():
            if row.get("name") == name and isinstance(row.get("guest"), int):
                return int(row["guest"])  # type: ignore[arg-type]
        raise Refused(f"there is no guest {name}", 2)

    def registers(self, name: str, vcpu: int = 0) -> dict[str, int | None]:
        """Of a vCPU, counted from 0; None: unavailable. A running guest stands still meanwhile, a paused one stays so."""
        process = self.process(name)
        self._ask(b"vAttach;%x" % process, rb"[TSWX].*")
        try:
            self._ask(b"Hgp%x.%x" % (process, vcpu + 1), rb"OK", f"guest {name}: has no vCPU {vcpu}")
            layout = tables.registers(self._description("target.xml"))
            values = self._ask(b"g", rb"([0-9a-fA-F]{2}|xx)+")
        finally:
            self._ask(b"D;%x" % process, rb"OK")
        found: dict[str, int | None] = {}
        at = 0
        for register in layout:
            text = values[2 * at : 2 * (at + register.size)]
            at += register.size
            if len(text) == 2 * register.size:
                found[register.name] = None if b"x" in text else int.from_bytes(bytes.fromhex(text.decode()), "little")
        return found

    def _description(self, annex: str, depth: int = 0) -> str:
        """A description of registers, with what it includes."""
        if depth > 2:
            raise Unreached("the control guest's description of registers includes itself")
        text = self.objects.transfer("features", annex)
        parts = tables.INCLUDE.split(text)
        if len(parts) > 32:
            raise Unreached("the control guest's description of registers includes too much")
        return "".join(self._description(part, depth + 1) if i % 2 else part for i, part in enumerate(parts))

    def _ask(self, request: bytes, expected: bytes, refused: str = "") -> bytes:
        """A packet that is no file's; an error becomes Refused."""
        pattern = re.compile(rb"%s|E[0-9a-fA-F]{2}|E\..*|" % expected, re.S)
        answer = self.objects.packets.request(request, lambda found: pattern.fullmatch(found) is not None)
        if re.fullmatch(expected, answer, re.S):
            return answer
        if not refused:
            words = "" if answer == b"" else " ".join(self.objects.monitor("why").split())
            errno = int(answer[1:3], 16) if re.fullmatch(rb"E[0-9a-fA-F]{2}", answer) else 0
            given = answer[2:].decode("utf-8", "replace") if answer[:2] == b"E." else ""
            refused = words or given or ERRNO.get(errno, "the control guest cannot do this")
        raise Refused(refused)

    # -------------------------------------------------------------- platform

    def platform(self) -> Status:
        return self._status("/platform/status")

    def pdh(self) -> bytes:
        """The certificate of the platform's Diffie-Hellman key."""
        return self._exactly("/platform/pdh", CERTIFICATE_SIZE)

    def chain(self) -> bytes:
        """PEK, OCA, CEK."""
        return self._exactly("/platform/chain", 3 * CERTIFICATE_SIZE)

    def chips(self) -> list[bytes]:
        """A socket's chip id each, 64 bytes."""
        data = self.objects.read("/platform/id", 64 * 64)
        if not data or len(data) % 64:
            raise Unreached(f"/platform/id: has {len(data)} bytes, not 64 a socket")
        return [data[at : at + 64] for at in range(0, len(data), 64)]

    def pek_csr(self) -> bytes:
        """The PEK, to be signed by the platform's owner."""
        return self._exactly("/platform/pek.csr", CERTIFICATE_SIZE)

    def pek_import(self, pek: bytes, oca: bytes) -> None:
        """The signed PEK, and the certificate of the key that signed it."""
        if len(pek) != CERTIFICATE_SIZE or len(oca) != CERTIFICATE_SIZE:
            raise ValueError("a certificate has 2084 bytes")
        self.objects.write("/platform/pek-import", pek + oca)

    def platform_command(self, word: str) -> None:
        """One of PLATFORM_COMMANDS."""
        self.objects.write("/platform/command", word.encode())

    def platform_state(self) -> bytes:
        """What INIT_EX takes, as the SEV firmware has left it; refused unless the platform was started by INIT_EX."""
        return self._exactly("/platform/state", STATE_SIZE)

    def init_ex(self, state: bytes, progress: Callable[[int], None] | None = None) -> None:
        if len(state) != STATE_SIZE:
            raise ValueError("the state has 32 KiB")
        self.objects.write("/platform/state", state, progress)

    def download(self, image: bytes, progress: Callable[[int], None] | None = None) -> None:
        """DOWNLOAD_FIRMWARE."""
        self.objects.write("/platform/image", image, progress)

    def _exactly(self, path: str, size: int) -> bytes:
        data = self.objects.read(path, size)
        if len(data) != size:
            raise Unreached(f"{path}: has {len(data)} bytes instead of {size}")
        return data
