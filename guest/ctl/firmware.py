# SPDX-License-Identifier: BSD-2-Clause-Patent
"""One command of the SEV API, by way of the control guest's objects `firmware`: its buffer laid out by fields, its answer taken
apart, refusals explained."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from .connection import STANDING, Connection
from .errors import Refused, TimedOut, Uncertain, Unreached
from .hostio import Flags
from .sevapi import BUFFER_SIZE, BY_NAME, PAGE, STATE_SIZE, STATUSES, Command, Role, Whose, field_text, policy_text

DATA = 0x30000  # in the window, guest/control/bulk.h
ROOM = (1 << 20) - DATA
_REQUEST = struct.Struct("<4IQQ4I80s")  # guest/control.h, struct control_request
_ANSWER = struct.Struct("<4IQ80s160s")  # struct control_answer
_ALIGN = 64
_LARGEST_TAG = (1 << 32) - 1
_TRANSPORT = 0x10000  # statuses from here on are the driver's own errors

Values = Mapping[str, int | bytes]


class Result(IntEnum):
    """guest/control.h, enum control_result."""

    OK = 0
    UNKNOWN = 1
    INVALID = 2
    NO_GUEST = 3
    STATE = 4
    POLICY = 5
    IN_USE = 6
    NO_SEV = 7
    SEV_FAILED = 8
    NOT_SHARED = 9
    LIMIT = 10


@dataclass
class Request:
    number: int
    command: Command | None  # None: not in the table
    buffer: bytearray
    data: bytearray = field(default_factory=bytearray)
    outputs: dict[str, tuple[int, int]] = field(default_factory=dict)  # offset in the data, room
    room: int = 0

    def place(self, size: int, align: int) -> int:
        """Behind all that has a place."""
        self.room = max(self.room, len(self.data)) + align - 1 & ~(align - 1)
        at, self.room = self.room, self.room + size
        return at

    def put(self, at: int, size: int, value: int) -> None:
        self.buffer[at : at + size] = value.to_bytes(size, "little")


@dataclass(frozen=True)
class Answer:
    number: int
    command: Command | None
    result: int
    status: int
    us: int  # inside of the mailbox's commands
    buffer: bytes
    text: str  # why not, in the hypervisor's words
    data: dict[str, bytes]

    @property
    def reached(self) -> bool:
        """The SEV firmware itself has answered."""
        return self.result == Result.OK or self.result == Result.SEV_FAILED and self.status < _TRANSPORT

    @property
    def name(self) -> str:
        return self.command.name if self.command else f"command {self.number:#x}"

    @property
    def status_name(self) -> str:
        return STATUSES[self.status][0] if self.reached and self.status in STATUSES else ""

    def values(self) -> dict[str, int | bytes]:
        """What the answer's fields say."""
        found: dict[str, int | bytes] = {}
        for one in self.command.fields if self.command else ():
            raw = self.buffer[one.at : one.at + one.size]
            if one.role in (Role.OUT, Role.LENGTH):
                found[one.name] = int.from_bytes(raw, "little")
        return found

    def texts(self) -> dict[str, str]:
        values = self.values()
        return {
            one.name: field_text(self.command, one, int(values[one.name]))  # type: ignore[arg-type]
            for one in (self.command.fields if self.command else ())
            if one.name in values and not one.name.startswith("reserved")
        }

    def words(self) -> str:
        """The status: `SUCCESS (0x00): done`, or who else refused, and why."""
        if self.reached:
            name, words = STATUSES.get(self.status, ("a status that is not known", "see the SEV API"))
            return f"{name} ({self.status:#04x}): {words}"
        if self.result == Result.SEV_FAILED:
            return f"no answer: {self.text}"
        return f"not sent: {self.text}"


# ---------------------------------------------------------------- a buffer


def _number(command: Command, name: str, value: int | bytes, size: int) -> int:
    if isinstance(value, bytes):
        raise Refused(f"{command.name}: {name} is a number")
    if not 0 <= value < 1 << 8 * size:
        raise Refused(f"{command.name}: {name} has {size} bytes, which {value:#x} does not fit")
    return value


def _input(request: Request, command: Command, name: str, values: Values, at: int, length: str) -> None:
    given = values.get(name)
    if given is None:
        if not length:
            raise Refused(f"{command.name}: {name} needs a page: {name}=@FILE")
        return  # a length of 0: nothing is there
    if not isinstance(given, bytes):
        raise Refused(f"{command.name}: {name} is a place in the window, which this tool chooses: give {name}=@FILE")
    if not length and len(given) != PAGE:
        raise Refused(f"{command.name}: {name} is a page: its file has {len(given)} bytes instead of {PAGE}")
    where = request.place(len(given), PAGE if not length or length == "nv_len" else _ALIGN)
    request.data += bytes(where - len(request.data)) + given
    request.put(at, 8, DATA + where)
    field_of = command.field(length)
    if field_of and length not in values:
        request.put(field_of.at, field_of.size, len(given))


def _output(request: Request, command: Command, name: str, values: Values, at: int, length: str, usual: int) -> None:
    if name in values:
        raise Refused(f"{command.name}: {name} is a place in the window, which this tool chooses")
    field_of = command.field(length)
    size = usual
    if field_of and length in values:
        size = _number(command, length, values[length], 4)
    elif field_of:
        request.put(field_of.at, field_of.size, size)
    if size == 0:
        return
    where = request.place(size, PAGE if not length else _ALIGN)
    request.outputs[name] = (where, size)
    request.put(at, 8, DATA + where)


def _raw(request: Request, command: Command | None, data: bytes) -> Request:
    """A buffer as the user made it, addresses included; `data` stands at DATA."""
    request.data += data
    request.room = len(data)
    for one in command.fields if command else ():
        if one.role is Role.WRITES:
            at = int.from_bytes(request.buffer[one.at : one.at + 8], "little")
            told = command.field(one.length) if command else None
            size = int.from_bytes(request.buffer[told.at : told.at + 4], "little") if told else PAGE
            if DATA <= at < DATA + ROOM and 0 < size <= DATA + ROOM - at:
                request.outputs[one.name] = (at - DATA, size)
    return request


def _numbers(request: Request, command: Command, values: Values) -> None:
    for one in command.fields:
        if one.name not in values or one.role in (Role.READS, Role.WRITES, Role.STATE):
            continue
        given = values[one.name]
        if one.role is not Role.BYTES:
            request.put(one.at, one.size, _number(command, one.name, given, one.size))
        elif isinstance(given, bytes) and len(given) == one.size:
            request.buffer[one.at : one.at + one.size] = given
        else:
            raise Refused(f"{command.name}: {one.name} has {one.size} bytes: give {2 * one.size} hexadecimal digits")
    if command.name == "INIT_EX" and "length" not in values:
        request.put(0, 4, command.size)


def _with_data(command: Command, values: Values, data: bytes) -> Values:
    """`data` as what the command reads."""
    if not data:
        return values
    reads = [one.name for one in command.fields if one.role in (Role.READS, Role.STATE) and one.name not in values]
    if len(reads) != 1:
        raise Refused(f"{command.name}: reads {len(reads)} things: name the file's field: FIELD=@FILE")
    return {**values, reads[0]: data}


def build(command: Command | int, values: Values, buffer: bytes = b"", data: bytes = b"") -> Request:
    """A command's buffer: of fields, whose addresses are chosen here, `data` being the one thing that it reads; or as it is in
    `buffer`, with numbers of fields over it, and `data` at DATA."""
    known = None if isinstance(command, int) else command
    number = command if isinstance(command, int) else command.number
    if len(buffer) > BUFFER_SIZE or len(data) > ROOM:
        raise Refused(f"no command's buffer has more than {BUFFER_SIZE} bytes, and no data more than {ROOM}")
    request = Request(number, known, bytearray(buffer.ljust(BUFFER_SIZE, b"\0")))
    names = [one.name for one in known.fields] if known else []
    for name in values:
        if name not in names:
            raise Refused(f"command {number:#x} has no field {name[:40]!r} here: {', '.join(names) or 'give --buffer'}")
    if known is None or not known.fields or buffer:
        if known:
            _numbers(request, known, values)
        return _raw(request, known, data)
    values = _with_data(known, values, data)
    _numbers(request, known, values)
    for one in known.fields:
        if one.role in (Role.READS, Role.STATE):
            _input(request, known, one.name, values, one.at, one.length)
    for one in known.fields:
        if one.role is Role.WRITES:
            usual = one.room
            if one.name == "trans_paddr":  # as long as the guest's memory
                usual = int.from_bytes(request.buffer[0x20:0x24], "little")
            _output(request, known, one.name, values, one.at, one.length, usual)
    if request.room > ROOM:
        raise Refused(f"{known.name}: wants {request.room} bytes of the window, which has room for {ROOM}")
    return request


# ---------------------------------------------------------------- sending it


class Firmware:
    def __init__(self, sevisor: Connection, patience: float = 120.0) -> None:
        self.sevisor, self.patience = sevisor, patience

    def _take(self, path: str, request: Request) -> tuple[bytes, dict[str, bytes]]:
        objects = self.sevisor.objects
        handle = objects.open(path, Flags.READ)

        def bytes_at(at: int, size: int) -> bytes:
            data = bytearray()
            while len(data) < size and (chunk := objects.pread(handle, size - len(data), at + len(data), path)):
                data += chunk
            if len(data) != size:
                raise Unreached(f"{path}: has {len(data)} bytes at {at:#x} instead of {size}")
            return bytes(data)

        try:
            head = bytes_at(0, _ANSWER.size)
            result, buffer = _ANSWER.unpack(head)[1], _ANSWER.unpack(head)[5]
            found = {}
            for name, (at, size) in request.outputs.items() if result == Result.OK else ():
                one = request.command.field(name) if request.command else None
                told = request.command.field(one.length) if request.command and one else None
                if told:
                    size = min(size, int.from_bytes(buffer[told.at : told.at + told.size], "little"))
                found[name] = bytes_at(_ANSWER.size + at, size)
            return head, found
        finally:
            objects.discard(handle)

    def _once(self, request: Request, guest: str | None, progress: Callable[[int], None] | None) -> Answer:
        path = self.sevisor.path(guest, "firmware") if guest else "/platform/firmware"
        tag = secrets.randbelow(_LARGEST_TAG) + 1
        outputs_end = max((at + size for at, size in request.outputs.values()), default=0)
        head = _REQUEST.pack(tag, 0, 0, 0, 0, outputs_end, 0, 0, request.number, 0, bytes(request.buffer))
        failure: Exception | None = None
        try:
            self.sevisor.objects.write(path, head + bytes(request.data), progress)
        except (Refused, Uncertain) as error:
            failure = error  # the answer tells more, if there is one to this request
        try:
            raw, data = self._take(path, request)
        except Refused as error:
            raise failure or error from None
        told, result, status, _, us, buffer, text = _ANSWER.unpack(raw)
        if told != tag:
            raise failure or Unreached(f"{path}: has the answer to another command: is somebody else at work there?")
        words = text.partition(b"\0")[0].decode("utf-8", "replace")
        return Answer(request.number, request.command, result, status, us, buffer, words, data)

    def send(
        self, request: Request, guest: str | None = None, progress: Callable[[int], None] | None = None
    ) -> Answer:  # fmt: skip
        """Waits, if the hypervisor is still at work on what an earlier command has changed."""
        answer = self._once(request, guest, progress)
        if answer.result == Result.STATE and request.number != BY_NAME["NOP"].number and self.settle():
            answer = self._once(request, guest, progress)
        return answer

    def command(self, name: str, guest: str | None = None, **values: int | bytes) -> Answer:
        return self.send(build(BY_NAME[name], values), guest)

    def settle(self) -> bool:
        """What follows a command that has changed the platform is over: NOP is not refused any more. Whether it took a while."""
        nop = build(BY_NAME["NOP"], {})
        end = time.monotonic() + self.patience
        waited = False
        while self._once(nop, None, None).result == Result.STATE:
            if time.monotonic() > end:
                raise TimedOut(f"the hypervisor is still busy with the platform after {self.patience:g} s")
            waited = True
            time.sleep(0.2)
        return waited

    # -------------------------------------------------------------- why not

    def live_guests(self) -> list[str]:
        return [
            str(row["name"])
            for row in self.sevisor.guests()
            if row.get("encryption") == "sev" and row.get("state") not in STANDING
        ]

    def explain(self, answer: Answer, guest: str | None = None) -> str:
        """What to do about a refusal of the hypervisor's; "": nothing is known."""
        command, result = answer.command, answer.result
        if result == Result.UNKNOWN:
            return self._unknown(command)
        if result == Result.IN_USE:
            return f"it would destroy SEV guests: end {', '.join(self.live_guests()) or 'them'} first"
        if result == Result.NO_GUEST or command and command.whose >= Whose.GUEST and guest is None:
            return f"{answer.name} is for a guest: --guest NAME"
        if result == Result.STATE and command:
            return self._state(command, guest)
        if result == Result.POLICY and command and guest:
            policy = int(self.sevisor.status(guest).get("policy") or 0)  # type: ignore[arg-type]
            return f"guest {guest} has policy {policy_text(policy)}; forbidden with {policy_text(command.forbidden)}"
        if result == Result.INVALID and command:
            zero = [one.name for one in command.fields if one.role is Role.ZERO]
            return "; ".join(
                ["a field is out of its range: the hypervisor wants guest addresses and lengths in its RAM and in units of 16 bytes"]
                + ([f"zeros in {', '.join(zero)}"] if zero else [])
                + (["no handle, which it fills in"] if command.whose >= Whose.GUEST else [])
                + ([f"{STATE_SIZE} bytes of state"] if command.name == "INIT_EX" else [])
            )  # fmt: skip
        if result == Result.NO_SEV:
            return f"why: {self.sevisor.platform().get('refusal') or 'see the log'}"
        return ""

    def _unknown(self, command: Command | None) -> str:
        if command is None:
            return "the hypervisor knows no such command: this tool's `firmware --list` has those of SEV"
        return HYPERVISORS_OWN.get(command.name, "the hypervisor does not give it away")

    def _state(self, command: Command, guest: str | None) -> str:
        platform = str(self.sevisor.platform().get("state", "")).upper()
        wanted = [state for state in ("UNINIT", "INIT", "WORKING") if state[0] in command.states]
        if platform not in wanted:
            ways = {"UNINIT": "`platform shutdown` leads there", "INIT": "`platform init` leads there"}
            return f"the platform is in state {platform or 'unknown'}; {command.name} wants {' or '.join(wanted)}: {ways[wanted[0]]}"
        if guest is None:
            return ""
        state = self.sevisor.state(guest)
        needs = {
            Whose.PAUSED: "paused: `pause` it first", Whose.LIVE: "running or paused", Whose.HELD: "held, before its first instruction",
            Whose.RECEIVING: "receiving",
        }.get(command.whose, "launched, and encrypted")  # fmt: skip
        return f"guest {guest} is {state}; {command.name} wants it {needs}"


_LAUNCH = "the hypervisor's own, sent when a SEV guest is launched (`launch NAME`)"
_END = "the hypervisor's own, sent when a SEV guest ends (`end NAME`)"
_RECEIVE = "the hypervisor's own, sent for a guest that comes from another platform"
HYPERVISORS_OWN = {
    "RING_BUFFER": "the hypervisor gives the SEV firmware one command at a time, by the mailbox",
    "DECOMMISSION": _END, "DEACTIVATE": _END, "ACTIVATE": _LAUNCH,
    "ACTIVATE_EX": "the hypervisor activates guests for all cores, by ACTIVATE",
    "LAUNCH_START": _LAUNCH, "LAUNCH_UPDATE_DATA": _LAUNCH, "LAUNCH_MEASURE": _LAUNCH, "LAUNCH_FINISH": _LAUNCH,
    "LAUNCH_UPDATE_VMSA": "for SEV-ES guests only, which this hypervisor does not launch",
    "RECEIVE_START": _RECEIVE,
}  # fmt: skip
AT_LAUNCH = tuple(name for name, words in HYPERVISORS_OWN.items() if words is _LAUNCH)
