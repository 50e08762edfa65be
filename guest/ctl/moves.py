# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The order in which a SEV guest leaves for a file or another machine, and arrives from there.

At most one of the two machines runs a guest that migrates, whatever dies in between:
    target: all has come, RECEIVE_FINISH: "ready"; it does not run
    source: SEND_FINISH: from here on it never runs there again
    target: "yours": runs
What fails before SEND_FINISH is undone: SEND_CANCEL, and the source goes on. While nobody knows whether SEND_FINISH was carried
out, nobody runs, and the source is asked until it answers: `settle` does that later, too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeVar

from pack.errors import PackError

from . import stream
from .connection import CERTIFICATE_SIZE

from .ends import (
    DIRTY, SENT, SHARED, TOUCHED, Shape, Source, Target, check_api, check_policy, says_what_it_shares,
)  # fmt: skip
from .errors import Refused, Undecided, Unreached
from .stream import Header, Page, Reader, State, Writer

if TYPE_CHECKING:
    from owner.chain import Chain

T = TypeVar("T")
RUNNING = ("running", "paused")
_OVERHEAD = 1.02  # of escapes on the line
_PAUSE_SECONDS = 0.5  # between two tries
_SMALLER = 0.9  # a round that leaves more than this of the one before does not help


@dataclass
class Watch:
    """What whoever waits wants to see."""

    say: Callable[[str], None] = lambda words: None
    begin: Callable[[str, int], None] = lambda what, total: None  # a part, with so many bytes
    at: Callable[[int], None] = lambda done: None
    end: Callable[[], None] = lambda: None


@dataclass
class Limits:
    rounds: int = 10  # while the guest runs
    downtime: float = 1.0  # seconds for the pages that are left, as estimated: then it is stopped
    patience: float = 60.0  # seconds for an end that does not answer
    launch: float = 600.0  # seconds for the target's memory


@dataclass
class Report:
    """What was done. Seconds are this machine's."""

    guest: str
    pages: int = 0  # sent, again and again ones as often
    bytes: int = 0
    seconds: float = 0.0
    downtime: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)
    commands: dict[str, int] = field(default_factory=dict)  # of the Secure Processors, and microseconds inside of them
    warnings: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        speed = round(self.bytes / self.seconds) if self.seconds else 0
        return {
            "guest": self.guest, "pages": self.pages, "bytes": self.bytes, "seconds": round(self.seconds, 3),
            "bytes-per-second": speed, "downtime": round(self.downtime, 3), "rounds": self.rounds, **self.commands,
            "warnings": self.warnings,
        }  # fmt: skip

    def words(self) -> str:
        speed = self.bytes / max(self.seconds, 0.001) / 1024
        return (f"{self.pages} pages, {self.bytes >> 10} KiB in {self.seconds:.1f} s ({speed:,.0f} KiB/s), "
                f"{len(self.rounds)} rounds, stopped for {self.downtime:.2f} s")  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    pages: int
    bytes: int
    seconds: float

    def words(self) -> str:
        return f"{self.pages} pages, {self.bytes >> 10} KiB, about {self.seconds:,.0f} s on this line"


class Sent:
    """Which pages have to go, and which went."""

    def __init__(self, pages: int) -> None:
        self._as = bytearray(pages)  # 0: not yet; 1: private; 2: shared
        self.pages = pages

    def due(self, found: bytes) -> list[tuple[int, bool]]:
        """By the pages' bytes: what has been touched or is shared, unless it went like this and is not dirty."""
        due = []
        for number, byte in enumerate(found):
            kind = 2 if byte & SHARED else 1
            if byte & (SHARED | TOUCHED | DIRTY) and (byte & DIRTY or self._as[number] != kind):
                due.append((number, kind == 1))
        return due

    def went(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Hands them on."""
        for page in pages:
            self._as[page.number] = 1 if page.private else 2
            yield page


def size_of(due: list[tuple[int, bool]]) -> int:
    return sum(stream.PACKET if private else stream.PAGE for _, private in due)


def target_name(pdh: bytes) -> bytes:
    """What a stream calls the platform that it is for."""
    return hashlib.sha256(pdh).digest()


def _commands(end: Source | Target) -> tuple[int, int]:
    found = end.sevisor.platform()
    return int(found.get("commands", 0)), int(found.get("command-us", 0))  # type: ignore[arg-type]


class _Work:
    """What snapshot and migration have in common: a source that is sent, and then is as it was."""

    def __init__(self, source: Source, watch: Watch, limits: Limits) -> None:
        self.source, self.watch, self.limits = source, watch, limits
        self.report = Report(source.name)
        self.shape = source.shape()
        self._began = time.monotonic()
        self._stopped: float | None = None
        self._before = _commands(source)

    def check(self, to: Chain, api: tuple[int, int, int] | None) -> None:
        shape = self.shape
        oca = self.source.sevisor.chain()[CERTIFICATE_SIZE : 2 * CERTIFICATE_SIZE]
        check_policy(self.source.name, shape, oca, to, api)
        if shape.state not in RUNNING:
            raise Refused(f"guest {self.source.name}: is {shape.state}: only a running or paused guest can be sent")
        if shape.pages == 0 or shape.memory % stream.PAGE:
            raise Unreached(
                f"guest {self.source.name}: the control guest says that it has {shape.memory} bytes of memory"
            )

    def estimate(self, lines: int) -> Estimate:
        """From how long the list of pages takes, over so many lines one after the other."""
        began = time.monotonic()
        due = Sent(self.shape.pages).due(self.source.pages(self.shape.pages))
        per_byte = (time.monotonic() - began) / self.shape.pages
        commands, microseconds = self._before
        each = microseconds / 1e6 / commands if commands else 0.0
        size = size_of(due)
        return Estimate(len(due), size, lines * (size * per_byte * _OVERHEAD + each * len(due)))

    def stop(self) -> None:
        if self._stopped is None:
            self._stopped = time.monotonic()
        self.source.pause()

    def go(self) -> None:
        """After `stop`."""
        self.source.resume()
        self.went_on()

    def went_on(self) -> None:
        if self._stopped is not None:
            self.report.downtime += time.monotonic() - self._stopped
            self._stopped = None

    def undo(self) -> None:
        """The source is as it was, whatever happened."""
        words = _surely(lambda: self.source.cancel(self.shape.state == "running", self.limits.patience))
        self.went_on()
        if words:
            self.report.warnings.append(f"SEND_CANCEL: {words}")

    def sum_up(self, *others: tuple[str, Target, tuple[int, int]]) -> Report:
        self.report.seconds = time.monotonic() - self._began
        self.source.let_go()
        for name, end, before in (("source", self.source, self._before), *others):
            try:
                after = _commands(end)
            except PackError:
                continue
            self.report.commands[f"{name}-commands"] = after[0] - before[0]
            self.report.commands[f"{name}-command-us"] = after[1] - before[1]
        return self.report


def _surely(work: Callable[[], T]) -> T:
    """Once more if Ctrl-C comes in between."""
    try:
        return work()
    except KeyboardInterrupt:
        work()
        raise


def _counted(pages: Iterable[Page], watch: Watch) -> Iterator[Page]:
    done = 0
    for page in pages:
        yield page
        done += len(page.data)
        watch.at(done)


# ---------------------------------------------------------------- snapshot and restore


class Snapshot(_Work):
    """A guest into a stream. It stands still meanwhile, and goes on if it ran."""

    def run(self, to: Chain, sink: stream.Sink) -> Report:
        try:
            self.stop()
            self._write(to, sink)
        except BaseException:
            self.watch.end()
            self._undo_after_failure()
            raise
        self.watch.end()
        self.undo()
        return self.sum_up()

    def _undo_after_failure(self) -> None:
        try:
            self.undo()
        except PackError as error:
            self.watch.say(f"guest {self.source.name}: may stand still, since SEND_CANCEL or resume failed: {error}")

    def _write(self, to: Chain, sink: stream.Sink) -> None:
        source, shape = self.source, self.shape
        if not says_what_it_shares(source.state(None)):
            self.report.warnings.append(
                "the guest does not say which memory it shares (MSR MIGRATION_CONTROL is 0): what it shares without a word is lost"
            )
        policy, session = source.begin(to)
        found = source.pages(shape.pages)
        due = Sent(shape.pages).due(found)
        about = Header(source.name, policy, shape.api, shape.control, shape.vcpus, shape.memory, target_name(to.pdh),
                       source.sevisor.pdh(), session)  # fmt: skip
        shared = stream.bitmap(shape.pages, {number for number, byte in enumerate(found) if byte & SHARED})
        writer = Writer(sink, about, shared)
        began = time.monotonic()
        self.watch.begin("pages", size_of(due))
        for page in _counted(source.take(due), self.watch):
            writer.page(page)
        for vcpu in (None, *range(shape.vcpus)):
            writer.state(source.state(vcpu))
        writer.end()
        self.report.pages, self.report.bytes = len(due), writer.bytes
        self.report.rounds = [_round(due, began)]


def _round(due: list[tuple[int, bool]], began: float) -> dict[str, float]:
    return {"pages": len(due), "bytes": size_of(due), "seconds": round(time.monotonic() - began, 3)}


@dataclass
class Restore:
    """A stream into a guest. `file`: whole and seekable; it is read twice: checked first, then handed over."""

    target: Target
    watch: Watch
    limits: Limits

    def check(self, file: IO[bytes]) -> tuple[Header, bytes]:
        """The stream, and that this platform and this guest can take it; nothing is changed."""
        about, reader = stream.verify(file)
        given = Shape("", "sev", about.policy, about.vcpus, about.memory, 0, about.api, about.control, "")
        pdh = self.target.sevisor.pdh()
        if target_name(pdh) != about.target:
            raise Refused(
                f"this snapshot is for the platform whose PDH has the sum {about.target.hex()[:16]}; this one's has "
                f"{target_name(pdh).hex()[:16]}: it is another platform, or its PDH was made anew since (pdh-gen, pek-gen, "
                "reset, a new start): no platform can open it any more"
            )
        found = self.target.check(given)
        check_api(self.target.name, about.policy, found.api)
        return about, reader.sum

    def run(self, file: IO[bytes], checked: tuple[Header, bytes]) -> Report:
        about, whole = checked
        report, began, before = Report(self.target.name), time.monotonic(), _commands(self.target)
        file.seek(0)
        try:
            self.target.begin(about.policy, about.pdh, about.session, self.limits.launch)
            self._put(file, about, whole, report)
            self.target.finish()
        except BaseException:
            self.watch.end()
            _drop(self.target, self.watch, self.limits)
            raise
        self.watch.end()
        take_over(self.target, self.limits.patience)
        report.seconds = time.monotonic() - began
        self.target.let_go()
        after = _commands(self.target)
        report.commands = {"target-commands": after[0] - before[0], "target-command-us": after[1] - before[1]}
        return report

    def _put(self, file: IO[bytes], about: Header, whole: bytes, report: Report) -> None:
        """RECEIVE_FINISH is asked for only if all was read again as it was checked."""
        reader, states = Reader(file), list[State]()
        self.watch.begin("pages", about.memory)

        def pages() -> Iterator[Page]:
            for record in reader.records():
                if isinstance(record, Page):
                    report.pages += 1
                    self.watch.at(record.number * stream.PAGE)
                    yield record
                elif isinstance(record, State):
                    states.append(record)

        began = time.monotonic()
        count = self.target.put_all(pages())
        if reader.sum != whole:
            raise Refused("the file was changed while it was restored")
        for state in states:
            self.target.state(state)
        report.bytes = reader.bytes
        report.rounds = [{"pages": report.pages, "bytes": count, "seconds": round(time.monotonic() - began, 3)}]


def _drop(target: Target, watch: Watch, limits: Limits) -> None:
    try:
        target.drop(limits.patience)
    except PackError as error:
        watch.say(
            f"guest {target.name} of the target: what came of it may be there still: end it before anything else: {error}"
        )


# ---------------------------------------------------------------- migration


class Migration(_Work):
    """A guest to another machine. `live`: it runs while most of its memory goes."""

    def __init__(self, source: Source, target: Target, watch: Watch, limits: Limits, live: bool) -> None:
        super().__init__(source, watch, limits)
        self.target, self.live = target, live
        self._target_before = _commands(target)
        self._sent = Sent(self.shape.pages)
        self._left = b""  # pages' bytes of a round that was not sent

    def check_both(self, to: Chain) -> None:
        self.check(to, self.target.check(self.shape).api)
        if to.pdh + to.pek + to.oca != self.target.platform()[: 3 * CERTIFICATE_SIZE]:
            raise Refused(
                "the certificates are not the target's: its PDH was made anew, or they are another platform's"
            )
        self._check_state()

    def _check_state(self) -> None:
        """Stops the guest for a moment: only then its state tells."""
        try:
            self.stop()
            state = self.source.state(None)
        finally:
            if self.shape.state == "running":
                _surely(lambda: self.source.link.insist(lambda _: self.go(), self.limits.patience))
        if not says_what_it_shares(state):
            raise Refused(
                f"guest {self.source.name}: does not say which memory it shares (MSR MIGRATION_CONTROL is 0): it cannot be "
                "migrated; `snapshot` takes it, but loses what it shares without a word"
            )
        self.target.check_tsc(state)

    def run(self, to: Chain) -> Report:
        try:
            policy, session = self.source.begin(to)
            self.target.begin(policy, self.source.sevisor.pdh(), session, self.limits.launch)
            if self.live and self.shape.state == "running":
                self._rounds()
            self._last()
            self.target.finish()
        except BaseException as error:
            self.watch.end()
            self._undo_after_failure(error)
            raise
        self.watch.end()
        self._hand_over()
        self.went_on()
        self.target.let_go()
        return self.sum_up(("target", self.target, self._target_before))

    def _undo_after_failure(self, error: BaseException) -> None:
        """The target first, if it answers: nobody shall take what is there for the guest."""
        self.watch.say(f"guest {self.source.name}: stays where it is: {error or type(error).__name__}")
        _drop(self.target, self.watch, Limits(patience=0))
        try:
            self.undo()
        except PackError as other:
            self.watch.say(f"guest {self.source.name}: may stand still, since SEND_CANCEL or resume failed; "
                           f"`migrate --settle` lets it go on: {other}")  # fmt: skip

    def _send(self, found: bytes, what: str) -> None:
        due = self._sent.due(found)
        began = time.monotonic()
        self.watch.begin(what, size_of(due))
        pages = self._sent.went(self.source.take(due, runs_on=self._stopped is None))
        self.report.bytes += self.target.put_all(_counted(pages, self.watch))
        self.watch.end()
        self.report.pages += len(due)
        self.report.rounds.append(_round(due, began))

    def _dirty(self) -> bytes:
        """The guest stands for a moment: what it has written so far is then in memory, where the SEV firmware reads it (hv
        flushes the caches at a pause), and what it writes later is told the next time."""
        self.stop()
        found = self.source.dirty(self.shape.pages)
        self.go()
        return found

    def _rounds(self) -> None:
        last = 0
        for number in range(1, self.limits.rounds + 1):
            found = self._dirty()
            due = size_of(self._sent.due(found))
            if number > 1 and (due < self._pace() * self.limits.downtime or due > last * _SMALLER):
                self._left = found
                break
            last = due
            self._send(found, f"round {number}")

    def _pace(self) -> float:
        """Bytes a second so far."""
        return self.report.bytes / max(sum(found["seconds"] for found in self.report.rounds), 0.001)

    def _last(self) -> None:
        """Stopped, and all that is left."""
        self.stop()
        found = self.source.dirty(self.shape.pages) if self.live else self.source.pages(self.shape.pages)
        if self._left:  # what was dirty then is still due
            found = bytes(now | (before & DIRTY) for now, before in zip(found, self._left, strict=True))
        self._send(found, "last round")
        for vcpu in (None, *range(self.shape.vcpus)):
            self.target.state(self.source.state(vcpu))

    def _hand_over(self) -> None:
        """From "ready" on."""
        try:
            give(self.source, self.shape.launches, self.limits.patience)
        except (Undecided, KeyboardInterrupt):
            self.watch.say(f"guest {self.source.name}: runs nowhere until `migrate --settle` has found out who has it")
            raise
        except PackError as error:  # the source says that it still has it
            self._undo_after_failure(error)
            raise
        try:
            take_over(self.target, self.limits.patience)
        except BaseException:
            self.watch.say(
                f"guest {self.source.name}: has left, and waits at the target: `migrate --settle` lets it run there"
            )
            raise


def give(source: Source, launches: int, patience: float) -> None:
    """SEND_FINISH. Returned: the guest is the target's. Refused: it is still the source's. Undecided: nobody knows."""
    end, asked = time.monotonic() + patience, False
    while True:
        try:
            if source.gone(launches):
                return
            asked = True
            source.command("send-finish")
            return
        except Refused as refusal:
            if not asked:
                raise
            refused = refusal
            break
        except Unreached as error:
            source.link.drop()
            if time.monotonic() >= end:
                raise _undecided(source, error) if asked else error from None
            time.sleep(_PAUSE_SECONDS)
    try:
        gone = source.link.insist(lambda _: source.gone(launches), max(0.0, end - time.monotonic()))
    except Unreached as error:
        raise _undecided(source, error) from None
    if not gone:
        raise refused


def _undecided(source: Source, error: Exception) -> Undecided:
    return Undecided(f"guest {source.name}: the source does not say whether it has given it away: {error}")


def take_over(target: Target, patience: float) -> None:
    """The word "yours": the guest runs there. Only after it can run nowhere else."""

    def work(_: object) -> None:
        state = target.sevisor.state(target.name)
        if state == "receiving":
            target.command("yours")
        elif state not in RUNNING:
            raise Refused(f"guest {target.name} of the target: is {state}, though all of it had come: it is lost")

    target.link.insist(work, patience)


def settle(source: Source, target: Target, watch: Watch, limits: Limits) -> str:
    """After a migration whose tool, lines or machines died: lets the guest run where it is, if it does not. In words."""
    found = source.link.insist(lambda _: source.shape(), limits.patience)
    if found.state in ("ending", "ended") and SENT in found.reason:
        take_over(target, limits.patience)
        return f"guest {source.name}: had left, and runs at the target"
    if found.state not in RUNNING:
        raise Refused(
            f"guest {source.name}: is {found.state} at the source, and was not sent: there is nothing to settle"
        )
    _drop(target, watch, Limits(patience=0))
    source.cancel(True, limits.patience)
    return f"guest {source.name}: had not left, and runs at the source"
