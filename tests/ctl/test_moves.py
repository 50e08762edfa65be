# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Guests that move, between machines in memory: whatever breaks, never both run it, and the source has it until "yours"."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ctl_hosts as hosts
import ctl_platforms as platforms
import ctl_streams as streams
import pytest

from ctl import connection, link, moves, output, rsp, stream
from ctl.ends import Source, Target
from ctl.errors import ControlError, Damaged, Refused, Undecided, Unreached
from ctl.link import Link
from ctl.moves import Limits, Migration, Restore, Snapshot, Watch

GUEST = Path(__file__).resolve().parents[2] / "guest"


@pytest.fixture(scope="module")
def two() -> tuple[platforms.Platform, platforms.Platform]:
    return platforms.Platform(), platforms.Platform()


class Pair:
    """A source with the guest, and a target."""

    def __init__(self, two: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = hosts.World()
        for module in (connection, link, moves, output, rsp):
            monkeypatch.setattr(module, "time", self.world.clock)
        self.there = hosts.Host(self.world, two[1], runs=False)
        self.here = hosts.Host(self.world, two[0], runs=True)
        self.said: list[str] = []
        self.watch = Watch(say=self.said.append)

    def source(self) -> Source:
        return Source(Link(self.here.connect), "web")

    def target(self, host: hosts.Host | None = None) -> Target:
        return Target(Link((host or self.there).connect), "web")

    def migrate(self, live: bool = True, **limits: float) -> moves.Report:
        work = Migration(self.source(), self.target(), self.watch, Limits(**{"patience": 20.0, **limits}), live)
        to = self.there.sev.full
        work.check_both(to)
        self.before = self.here.seen()
        return work.run(to)

    def settle(self) -> str:
        return moves.settle(self.source(), self.target(), self.watch, Limits(patience=20.0))

    def states(self) -> tuple[str, str]:
        return self.here.web.state, self.there.web.state

    def snapshot(self, host: hosts.Host | None = None, to: hosts.Host | None = None) -> bytes:
        sink = io.BytesIO()
        host = host or self.here
        work = Snapshot(Source(Link(host.connect), "web"), self.watch, Limits(patience=20.0))
        full = (to or host).sev.full
        work.check(full, None)
        self.report = work.run(full, sink)
        return sink.getvalue()

    def restore(self, data: bytes, host: hosts.Host) -> moves.Report:
        work = Restore(self.target(host), self.watch, Limits(patience=20.0))
        file = io.BytesIO(data)
        return work.run(file, work.check(file))


@pytest.fixture
def pair(two, monkeypatch: pytest.MonkeyPatch) -> Pair:
    return Pair(two, monkeypatch)


# ---------------------------------------------------------------- what goes well


@pytest.mark.parametrize("live", [False, True])
def test_a_guest_moves(pair: Pair, live: bool) -> None:
    report = pair.migrate(live)
    assert pair.states() == ("ended", "running")
    assert pair.there.arrived_with == pair.here.seen()
    assert pair.there.moving.counter >= pair.here.moving.counter > 0
    assert not {7, 11} & set(pair.here.sent), "what was never touched is not sent"
    assert report.pages == sum(found["pages"] for found in report.rounds) and 0 < report.downtime <= report.seconds
    assert (len(report.rounds) > 1) == live
    assert report.commands["source-commands"] == len(pair.here.sent)
    assert not pair.said and not report.warnings
    found = report.json()
    assert found["bytes-per-second"] > 0 and found["guest"] == "web"


def test_a_page_that_is_shared_or_taken_back_meanwhile_goes_as_it_is_last(pair: Pair) -> None:
    pair.here.moving.counter = 0
    pair.migrate()
    assert pair.here.moving.counter >= 40
    assert pair.there.moving.flags[9] & hosts.SHARED and not pair.there.moving.flags[10] & hosts.SHARED
    assert 9 in pair.here.sent and 10 in pair.here.sent


def test_rounds_have_a_cap(pair: Pair) -> None:
    """This guest dirties a quarter of its memory all the time."""
    tick = pair.here.tick

    def busy() -> None:
        for page in (5, 6, 8):
            if pair.here.web.state == "running":
                pair.here.write(page, pair.here.moving.counter)
        tick()

    pair.here.tick = busy
    report = pair.migrate(rounds=2, downtime=0.0001)
    assert 2 <= len(report.rounds) <= 3 and pair.states() == ("ended", "running")
    assert pair.there.arrived_with == pair.here.seen()


def test_a_guest_that_rests_is_stopped_for_little(pair: Pair) -> None:
    pair.here.moving.writes = False
    report = pair.migrate()
    assert [found["pages"] for found in report.rounds] == [12, 0]


def test_a_paused_guest_moves_and_runs_there(pair: Pair) -> None:
    pair.here.web.state = "paused"
    report = pair.migrate()
    assert pair.states() == ("ended", "running") and len(report.rounds) == 1


def test_the_estimate_is_of_what_goes(pair: Pair) -> None:
    work = Migration(pair.source(), pair.target(), pair.watch, Limits(), True)
    found = work.estimate(2)
    assert found.pages == 12 and found.bytes == 9 * 4148 + 3 * 4096 and found.seconds > 0
    assert "12 pages" in found.words() and pair.states() == ("running", "ended")
    assert not pair.here.done


# ---------------------------------------------------------------- what is refused before anything is sent


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (0x9, "NOSEND"),
        (0x5, "SEV-ES"),
        (0x11, "DOMAIN, and the other platform has another owner"),
        (0x38020001, "wants SEV API 2.56"),
    ],
)
def test_a_policy_that_forbids_it_is_refused_by_name(pair: Pair, policy: int, words: str) -> None:
    pair.here.web.policy = policy
    with pytest.raises(Refused, match=words):
        pair.migrate()
    assert not pair.here.done and not pair.there.done and pair.states() == ("running", "ended")


def test_domain_allows_the_same_owner(two, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair((two[0], platforms.Platform(two[0].owner)), monkeypatch)
    pair.here.web.policy = 0x11
    pair.migrate()
    assert pair.states() == ("ended", "running")


def test_what_cannot_become_the_guest_is_refused(pair: Pair) -> None:
    cases: list[tuple[Callable[[], None], str]] = [
        (lambda: pair.there.web.goes("paused"), "is paused: end it first"),
        (lambda: setattr(pair.there.web, "memory", bytearray(4096)), "4096 bytes of memory"),
        (lambda: setattr(pair.there.web, "encryption", "none"), "encryption none"),
        (lambda: setattr(pair.here.web, "encryption", "none"), "only SEV guests"),
        (lambda: setattr(pair.here.moving, "shares", 0), "MIGRATION_CONTROL is 0"),
        (lambda: setattr(pair.here.moving, "tsc_hz", 1_000_251), "runs at 1.000 MHz, .* differ by 250 in a million"),
        (lambda: pair.here.web.goes("held"), "only a running or paused guest"),
    ]
    for change, words in cases:
        web, moving, there = dict(vars(pair.here.web)), dict(vars(pair.here.moving)), dict(vars(pair.there.web))
        change()
        with pytest.raises(Refused, match=words):
            pair.migrate()
        vars(pair.here.web).update(web)
        vars(pair.here.moving).update(moving)
        vars(pair.there.web).update(there)
    assert not any("send" in done or "receive" in done for done in [*pair.here.done, *pair.there.done])


def test_certificates_that_are_not_the_targets_are_refused(pair: Pair, two) -> None:
    work = Migration(pair.source(), pair.target(), pair.watch, Limits(), True)
    with pytest.raises(Refused, match="not the target's"):
        work.check_both(two[0].full)


# ---------------------------------------------------------------- snapshots


def test_a_snapshot_is_restored_on_the_same_and_on_another_machine(pair: Pair) -> None:
    pair.here.tick()
    mine, theirs = pair.snapshot(), pair.snapshot(to=pair.there)
    assert pair.states() == ("running", "ended") and pair.here.moving.state == "running"
    about, reader = stream.verify(io.BytesIO(mine))
    assert (about.name, about.vcpus, about.memory, about.policy) == ("web", 2, hosts.PAGES * 4096, 1)
    assert reader.private == 9 and reader.plain == 3
    saved = pair.here.moving.counter
    pair.here.web.goes("ended")
    pair.restore(theirs, pair.there)
    assert pair.states() == ("ended", "running") and pair.there.moving.counter >= saved - 100
    pair.there.web.goes("ended")
    pair.world.arrived = False
    report = pair.restore(mine, pair.here)
    assert pair.here.web.state == "running" and report.pages == 12
    counter = pair.here.moving.counter
    pair.here.tick()
    assert pair.here.moving.counter == counter + 1


def test_a_snapshot_of_a_machine_with_another_tsc_is_refused_by_name(pair: Pair) -> None:
    taken = []
    for hz in (999_749, 1_000_250):
        pair.here.moving.tsc_hz = hz
        taken.append(pair.snapshot(to=pair.there))
    pair.here.web.goes("ended")
    with pytest.raises(Refused, match="differ by 250 in a million"):
        pair.restore(taken[0], pair.there)
    assert pair.states() == ("ended", "ended")
    pair.restore(taken[1], pair.there)
    assert pair.states() == ("ended", "running")


def test_a_paused_guest_stays_paused_after_its_snapshot(pair: Pair) -> None:
    pair.here.web.goes("paused")
    pair.snapshot()
    assert pair.here.web.state == "paused" and pair.here.moving.state == "running"


def test_a_snapshot_of_a_guest_that_does_not_say_what_it_shares_warns(pair: Pair) -> None:
    pair.here.moving.shares = 0
    pair.snapshot()
    assert any("MIGRATION_CONTROL" in words for words in pair.report.warnings)


def test_a_snapshot_for_another_platform_or_a_former_pdh_is_refused_by_name(two, monkeypatch) -> None:
    pair = Pair((platforms.Platform(), platforms.Platform()), monkeypatch)
    data = pair.snapshot(to=pair.there)
    pair.here.web.goes("ended")
    with pytest.raises(Refused, match="is for the platform whose PDH"):
        pair.restore(data, pair.here)
    pair.there.sev.pdh_gen()
    with pytest.raises(Refused, match="its PDH was made anew since"):
        pair.restore(data, pair.there)
    assert not any("receive" in done for done in [*pair.here.done, *pair.there.done])


def test_a_damaged_snapshot_is_refused_before_the_machine_is_asked(pair: Pair) -> None:
    data = pair.snapshot()
    pair.here.web.goes("ended")
    done, chance = len(pair.here.done), random.Random(3)
    for _ in range(200):
        other = streams.damaged(data, chance)
        if other != data:
            with pytest.raises(Damaged):
                pair.restore(other, pair.here)
    assert len(pair.here.done) == done and pair.here.web.state == "ended"


def test_pages_that_changed_places_are_refused_though_the_firmware_would_take_them(pair: Pair) -> None:
    """Each packet is whole and of this session: only the stream's sum knows where they belong."""
    data = pair.snapshot()
    parts = streams.parts(data)
    first, second = parts[3], parts[4]
    parts[3], parts[4] = first[:12] + second[12:], second[:12] + first[12:]
    pair.here.web.goes("ended")
    with pytest.raises(Damaged, match="sum"):
        pair.restore(b"".join(parts), pair.here)


def test_a_packet_of_another_session_is_refused_by_the_firmware_and_nothing_runs(pair: Pair) -> None:
    """Its sum is right: a hostile file."""
    parts, others = streams.parts(pair.snapshot()), streams.parts(pair.snapshot())
    parts[5] = others[5]
    pair.here.web.goes("ended")
    with pytest.raises(Refused, match="BAD_MEASUREMENT"):
        pair.restore(streams.summed(b"".join(parts)), pair.here)
    assert pair.here.web.state == "ended"


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_that_changes_while_it_is_restored_does_not_run(pair: Pair, whole: bool) -> None:
    """To a damaged one, or to another whole one of the same session."""
    data = pair.snapshot()
    pair.here.web.goes("ended")
    parts = streams.parts(data)
    left_out = parts[:4] + parts[5:-1] + [parts[-1][:8] + (8).to_bytes(4, "little") + parts[-1][12:]]
    other = streams.summed(b"".join(left_out)) if whole else data[:-9000] + bytes(1) + data[-8999:]
    if whole:
        stream.verify(io.BytesIO(other))

    class File(io.BytesIO):
        def seek(self, *where: int) -> int:
            super().seek(0)
            self.truncate()
            self.write(other)
            return super().seek(*where)

    work = Restore(pair.target(pair.here), pair.watch, Limits())
    file = File(data)
    with pytest.raises(ControlError):
        work.run(file, work.check(file))
    assert pair.here.web.state == "ended" and not any("yours" in done for done in pair.here.done)


# ---------------------------------------------------------------- what breaks

KINDS = ["before", "after", "restart"]


def messages(two, monkeypatch: pytest.MonkeyPatch, live: bool) -> tuple[int, int]:
    pair = Pair(two, monkeypatch)
    pair.migrate(live)
    return pair.here.messages, pair.there.messages


@pytest.mark.parametrize("side", ["here", "there"])
@pytest.mark.parametrize(
    ("kind", "again", "live"), [*((kind, True, True) for kind in KINDS), ("after", False, True), ("after", True, False)]
)
def test_the_line_breaks_at_any_message(
    two, monkeypatch: pytest.MonkeyPatch, side: str, kind: str, again: bool, live: bool
) -> None:
    """Before a request, or behind it; with its control guest, or without; for a moment, or until somebody comes."""
    count = max(messages(two, monkeypatch, live))
    outcomes: dict[tuple[str, str], int] = {}
    for at in range(1, count + 1):
        pair = Pair(two, monkeypatch)
        host: hosts.Host = getattr(pair, side)
        host.fault = hosts.Fault(at, kind, again)
        try:
            pair.migrate(live)
            failed = None
        except ControlError as error:
            failed = error
        if host.messages < at:
            break
        given, running = pair.here.moving.state == "sent", [pair.here, pair.there]
        running = [one for one in running if one.web.state == "running"]
        if failed is None:
            assert given and running == [pair.there], (at, pair.states())
        elif again or side == "there":
            # The source can be reached: it has the guest, unless it has given it away.
            assert given or running == [pair.here], (at, failed, pair.states(), pair.said)
        if given:
            assert pair.here.web.state == "ended"
        # Somebody comes.
        host.dead, host.fault = False, None
        if failed is not None:
            pair.settle()
        now = [one for one in (pair.here, pair.there) if one.web.state == "running"]
        assert now == [pair.there if given else pair.here], (at, failed, pair.states())
        if given:
            assert pair.there.arrived_with == pair.here.seen()
        assert pair.here.moving.state == ("sent" if given else "running"), at
        pair.there.tick(), pair.here.tick()
        outcome = "given" if given else "kept", type(failed).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert len(outcomes) > 1 and sum(outcomes.values()) > 30, outcomes


@pytest.mark.parametrize("side", ["here", "there"])
def test_ctrl_c_at_any_message(two, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    for at in range(1, 1 + max(messages(two, monkeypatch, True))):
        pair = Pair(two, monkeypatch)
        host: hosts.Host = getattr(pair, side)

        host.interrupted = at
        try:
            pair.migrate()
        except (KeyboardInterrupt, ControlError):
            pass
        if host.messages < at:
            break
        given = pair.here.moving.state == "sent"
        host.interrupted = 0
        running = [one for one in (pair.here, pair.there) if one.web.state == "running"]
        if not running:
            assert any("settle" in words for words in pair.said), at
            pair.settle()
        assert (pair.here if not given else pair.there).web.state == "running", (at, pair.states(), pair.said)


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_whose_line_breaks_leaves_the_guest_as_it_was(
    two, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pair = Pair(two, monkeypatch)
    whole = pair.snapshot()
    for at in range(1, pair.here.messages + 1):
        pair = Pair(two, monkeypatch)
        pair.here.fault = hosts.Fault(at, kind)
        try:
            assert len(pair.snapshot()) == len(whole)
        except ControlError:
            pass
        assert pair.here.web.state == "running" and pair.here.moving.state == "running", (at, pair.said)


@pytest.mark.parametrize(
    ("command", "why"), [('"$@" | true', "Broken pipe"), ('"$@" >/dev/full', "No space left on device")]
)
def test_a_snapshot_into_a_pipe_that_nobody_reads_is_no_success(command: str, why: str) -> None:
    """Else `snapshot web - | ssh ...` would say that all is well, and the guest be ended."""
    code = """
import sys, types
sys.path.insert(0, sys.argv[1])
from ctl import move_commands
from pack import cli
class Stub:
    def __init__(self, *_): pass
    def check(self, *_): pass
    def estimate(self, _): pass
    def run(self, to, sink): sink.write(bytes(1 << 20))
move_commands.Snapshot = move_commands.Source = Stub
move_commands._link = move_commands._for = move_commands._limits = move_commands._Shown = lambda *_: None
move_commands._tell_estimate = lambda *_: False
args = types.SimpleNamespace(file=move_commands.PIPE, name="web", json=False)
sys.exit(cli.call("sevisorctl.py", lambda: move_commands.snapshot(None, args)))
"""
    words = ["bash", "-c", f"set -o pipefail; {command}", "-", sys.executable, "-c", code, GUEST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"sevisorctl.py: standard output: {why}: the snapshot is not whole\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_whose_line_breaks_runs_whole_or_not(two, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pair = Pair(two, monkeypatch)
    pair.here.web.goes("paused")
    data, seen = pair.snapshot(to=pair.there), pair.here.seen()
    before = pair.there.messages
    pair.restore(data, pair.there)
    for at in range(1, pair.there.messages - before + 1):
        pair = Pair(two, monkeypatch)
        pair.here.web.goes("ended")
        pair.there.fault = hosts.Fault(at, kind)
        try:
            pair.restore(data, pair.there)
        except ControlError:
            pass
        if pair.there.web.state == "running":
            assert pair.there.arrived_with == seen
        else:
            assert pair.there.web.state in ("ending", "ended"), (at, pair.there.web.state, pair.said)


def test_what_the_line_damages_is_noticed_though_its_sum_is_right(two, monkeypatch: pytest.MonkeyPatch) -> None:
    """RSP's sum has 8 bits."""
    chance = random.Random(8)
    noticed = 0
    for run in range(30):
        pair = Pair(two, monkeypatch)

        def spoil(path: str, data: bytes) -> bytes:
            if chance.random() > 0.03:
                return data
            at = chance.randrange(len(data))
            return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]

        pair.here.spoil = pair.there.spoil = spoil
        try:
            pair.migrate(run % 2 == 0)
            assert pair.there.arrived_with == pair.here.seen()
        except ControlError:
            noticed += 1
            assert pair.here.web.state == "running"
    assert noticed < 28


@pytest.mark.parametrize("live", [True, False])
def test_a_list_of_pages_that_the_line_damages_is_noticed(pair: Pair, live: bool) -> None:
    """A page that seems to be untouched would be left out."""
    pair.here.spoil = lambda path, data: data[:10] + bytes(1) + data[11:] if path in ("dirty-", "pages-") else data
    with pytest.raises(Unreached, match="comes damaged each time"):
        pair.migrate(live)
    assert pair.states()[0] == "running" and not pair.there.arrived


def test_what_was_dirty_before_the_last_stop_goes_too(pair: Pair) -> None:
    """Written between two lists, never again: the round of the second list is not worth sending while the guest runs."""
    told, lists = pair.here.pages, []

    def pages(item: str, first: int) -> bytes:
        lists.append(item)
        if lists.count("dirty-") == 2:
            pair.here.write(5, 0x55)
        return told(item, first)

    pair.here.moving.writes, pair.here.pages = False, pages
    pair.migrate()
    assert lists.count("dirty-") == 3 and pair.there.arrived_with == pair.here.seen()


def test_an_answer_that_is_lost_costs_time_or_the_migration_but_no_page(two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for dirty pages again would get none of those that the lost answer told of."""

    def start() -> Pair:
        pair = Pair(two, monkeypatch)
        tick = pair.here.tick

        def rotate() -> None:
            if pair.here.web.state == "running":
                pair.here.write((5, 6, 8, 12)[pair.here.moving.counter // 7 % 4], pair.here.moving.counter)
            tick()

        pair.here.tick = rotate
        return pair

    pair = start()
    pair.migrate()
    moved = 0
    for at in range(1, pair.here.messages + 1):
        pair = start()
        pair.here.lost = at
        try:
            pair.migrate()
            moved += 1
            assert pair.there.arrived_with == pair.here.seen(), at
        except ControlError:
            assert pair.states()[0] == "running", at
    assert moved > 30


def test_a_source_that_says_nothing_is_asked_until_patience_ends(pair: Pair) -> None:
    """ "send-finish" was carried out or not: nobody knows, nobody runs; then both are asked."""
    done = pair.here.guest_command

    def silent(guest, data: bytes) -> None:
        done(guest, data)
        if data == b"send-finish":
            pair.here.dead = True
            raise Unreached("the line broke")

    pair.here.guest_command = silent
    with pytest.raises(Undecided, match="does not say whether"):
        pair.migrate()
    assert pair.states() == ("ended", "receiving") and "settle" in pair.said[0]
    pair.here.dead = False
    assert pair.settle().endswith("had left, and runs at the target")
    assert pair.states() == ("ended", "running")


def test_settle_without_a_migration_changes_nothing_of_a_guest_that_runs(pair: Pair) -> None:
    pair.settle()
    assert pair.states() == ("running", "ended")
    pair.here.web.goes("ended")
    pair.here.web.end_reason = "power off"
    with pytest.raises(Refused, match="nothing to settle"):
        pair.settle()
