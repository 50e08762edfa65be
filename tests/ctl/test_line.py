# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The line between sevisorctl and the control guest: damaged, slow, hostile, gone. Nothing is done twice, nothing hangs."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import ctl_fake as fake
import pytest

from ctl import Connection, ControlError, Refused, TimedOut, Uncertain, Unreached, rsp
from ctl.transport import Address

REPAIRED = ("sum", "byte", "text instead", "ack lost", "twice", "refuse once", "delay 0.2")
LOST = (
    "end lost",
    "begin lost",
    "request lost",
    "answer lost",
    "all lost",
    "client's ack lost",
)  # the client waits for what does not come
FAULTS = (*REPAIRED, *LOST)


def patience(fault: str) -> float:
    return 0.5 if fault in LOST else 10.0


# ---------------------------------------------------------------- packets


def test_frames_are_those_of_the_manual() -> None:
    assert rsp.frame(b"OK") == b"$OK#9a"
    assert rsp.escape(b"a}#$*b") == b"a}\x5d}\x03}\x04}\x0ab"
    assert rsp.unescape(rsp.escape(bytes(range(256)))) == bytes(range(256))
    assert rsp.unescape(b"0* ") == b"0000"  # the manual's example


@pytest.mark.parametrize("text", [b"}", b"0*", b"*!", b"0*\x1f", b"0*\x7f", b"0*~" * 20_000])
def test_wrong_escapes_and_run_lengths_are_damage(text: bytes) -> None:
    assert rsp.unescape(text) is None


def test_what_may_be_read_whole_has_a_limit() -> None:
    assert len(rsp.unescape(b"0*~" * 10_000)) == 10_000 * 98
    assert rsp.unescape(b"x" * (rsp.LARGEST + 1)) is None


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place_of_fault", range(4))  # open, pread, pread, close
def test_a_damaged_answer_changes_nothing_that_is_read(place, server, machine, fault: str, place_of_fault: int) -> None:
    with Connection.open(place.to, patience(fault)) as sevisor:
        server.faults.extend([*[None] * place_of_fault, fault])
        assert sevisor.status("web")["memory"] == 262144
        assert not server.faults
        assert [row["name"] for row in sevisor.guests()] == ["web", "db", "plain"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place_of_fault", range(3))  # open, pwrite, close
def test_an_operation_is_carried_out_once_whatever_is_lost(
    place, server, machine, fault: str, place_of_fault: int
) -> None:
    machine.guest("web").goes("ended")
    with Connection.open(place.to, patience(fault)) as sevisor:
        server.faults.extend([*[None] * place_of_fault, fault])
        try:
            sevisor.launch("web")
        except Uncertain:
            assert fault in LOST
        assert not server.faults
        assert machine.done == ["/guest/web/command launch"]


def test_a_lost_answer_to_an_operation_is_said_to_be_lost(place, server, machine) -> None:
    with Connection.open(place.to, 1.0) as sevisor:
        server.faults.extend([None, None, "answer lost"])
        with pytest.raises(Uncertain, match="/guest/web/command: the answer was lost on the line: it was carried out"):
            sevisor.pause("web")
        assert sevisor.state("web") == "paused"


def test_input_for_a_guest_is_not_typed_twice(place, server, machine) -> None:
    with Connection.open(place.to, 1.0) as sevisor:
        server.faults.extend([None, "answer lost"])
        with pytest.raises(Uncertain):
            sevisor.send("web", b"reboot\n")
        assert bytes(machine.guest("web").typed) == b"reboot\n"


def test_an_old_answer_is_not_taken_for_a_new_one(place, server, machine) -> None:
    """A damaged answer, whose repetition brings the answer before it as well."""
    memory = bytes(machine.guest("plain").memory)
    with Connection.open(place.to, 1.0) as sevisor:
        for position in range(1, 12, 4):
            server.faults.extend([*[None] * position, "text instead", "twice", "ack lost", "sum", "all lost", "twice"])
            assert b"".join(sevisor.dump("plain", 3, 9000)) == memory[3:9003]


@pytest.mark.parametrize("place_of_fault", range(4))
def test_an_answer_that_comes_twice_and_late_is_not_taken_for_the_next(
    place, server, machine, place_of_fault: int
) -> None:
    memory = bytes(machine.guest("plain").memory)
    with Connection.open(place.to, 10.0) as sevisor:
        server.faults.extend([*[None] * place_of_fault, "refused, but taken", "delay 0.3"])
        assert b"".join(sevisor.dump("plain", 3, 1500)) == memory[3:1503]
        assert not server.faults


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_never_change_what_is_read(place, server, machine, seed: int) -> None:
    choose = random.Random(seed)
    machine.guest("plain").memory[:] = choose.randbytes(len(machine.guest("plain").memory))
    memory = bytes(machine.guest("plain").memory)
    server.before = b"cost $5 #12, C++ - 50% off $F0#"
    with Connection.open(place.to, 0.5) as sevisor:
        for _ in range(3):
            server.faults.extend(choose.choice(FAULTS) if choose.random() < 0.2 else None for _ in range(40))
            try:
                assert b"".join(sevisor.dump("plain", 5, 4000)) == memory[5:4005]
            except TimedOut:
                pass  # the same request failed four times
            except Refused as refusal:
                assert refusal.errno == fake.EMFILE  # of an open whose answer was lost, too often


def test_text_between_packets_is_skipped(place, server) -> None:
    server.before = b"[  12.3] eth0: $speed 50% + - # \xff\0"
    with Connection.open(place.to, 2.0) as sevisor:
        assert sevisor.status("web")["state"] == "running"
        assert sevisor.objects.monitor("why") == "\n"


@pytest.mark.parametrize("seed", range(3))
def test_noise_ends_in_an_answer_or_an_error(place, server, seed: int) -> None:
    server.random.seed(seed)
    server.noise = 0.05
    start = time.monotonic()
    for _ in range(3):
        try:
            with Connection.open(place.to, 0.2) as sevisor:
                sevisor.status("web")
        except ControlError:
            pass
    assert time.monotonic() - start < 120


def test_a_client_that_died_in_a_packet_leaves_nothing_behind(place, server, machine) -> None:
    machine.guest("web").goes("ended")
    with Connection.open(place.to, 1.0) as sevisor:
        handle = sevisor.objects.open("/guest/web/command", 0x601)
        sevisor.objects.pwrite(handle, b"launch", 0, "x")
        sevisor._line.write(b"$vFile:clo", 1.0)
    with Connection.open(place.to, 1.0) as sevisor:
        assert sevisor.state("web") == "ended"
    assert not machine.done


# ---------------------------------------------------------------- gone, slow, hostile


def test_a_closed_connection_is_status_3(tool, server) -> None:
    server.faults.extend([None, "close"])
    said = tool("list")
    assert said.status == 3 and said.err.startswith("sevisorctl.py: unix:/") and "closed the connection" in said.err
    server.faults.extend([None, None, "half"])
    assert tool("status", "web").status == 3


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("tcp:127.0.0.1:1", "Connection refused"), ("unix:/nonexistent/socket", "No such file"), ("/dev/nonexistent", "No such file"),
        ("/dev/null", "is not a tty"), ("tcp:nonexistent.invalid:1", "no connection"),
    ],
)  # fmt: skip
def test_what_cannot_be_reached_is_status_3(tool, to: str, words: str) -> None:
    said = tool("list", to=to)
    assert said.status == 3 and words in said.err and said.err.count("\n") == 1, said


@pytest.mark.parametrize(
    "text", ["", "ttyS0", "tcp:host", "tcp::1", "tcp:host:0", "tcp:host:65536", "tcp:host:x", "unix:", "unix:" + "n" * 200, "/dev/ttyS0@", "/dev/ttyS0@1",
             "/dev/ttyS0@x", "/dev/tty\0", "/dev/ttyS0@0", "tcp:host:\u0661"]
)  # fmt: skip
def test_a_line_that_is_none_is_a_wrong_command_line(tool, text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text)
    if text and "\0" not in text:
        assert tool("list", to=text).status == 2


def test_lines() -> None:
    assert Address.parse("/dev/ttyUSB0") == Address("tty", "/dev/ttyUSB0", 115200)
    assert Address.parse("/dev/ttyUSB0@921600") == Address("tty", "/dev/ttyUSB0", 921600)
    assert Address.parse("tcp:[::1]:4440") == Address("tcp", "::1", 4440)
    assert str(Address.parse("unix:a b")) == "unix:a b"


def test_silence_is_status_3_within_the_time(tool, machine, server) -> None:
    server.serve = lambda: time.sleep(30)
    start = time.monotonic()
    said = tool("list", timeout=0.3)
    assert said.status == 3 and "the control guest does not answer" in said.err
    assert time.monotonic() - start < 15


def test_an_answer_that_takes_long_is_waited_for(tool, server) -> None:
    server.faults.extend([None, None, "delay 3"])
    assert tool("status", "web", timeout=10).status == 0


FLOODS: dict[str, Callable[[int], bytes]] = {
    "zeros": lambda i: bytes(4096),
    "acknowledgements": lambda i: b"+" * 4096,
    "refusals": lambda i: b"-" * 4096,
    "packets without an end": lambda i: b"$" + b"x" * 65536,
    "beginnings": lambda i: b"$" * 4096,
    "empty packets": lambda i: b"$#00" * 1000,
    "output": lambda i: fake.framed(b"O" + b"41" * 2000),
    "long packets": lambda i: b"$" + b"x" * (rsp.LARGEST + 1) + b"#00",
    "run lengths": lambda i: b"$0" + b"*~" * 20_000 + b"#00",
    "random": lambda i: random.Random(i).randbytes(4096),
    "file answers": lambda i: fake.framed(b"Fffffffffffffffff;" + b"x" * 300),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_end_in_an_error(tool, server, flood: str) -> None:
    def serve() -> None:
        for i in range(100_000):
            server.emit(FLOODS[flood](i))

    server.serve = serve
    start = time.monotonic()
    said = tool("list", timeout=0.3)
    assert said.status == 3 and said.err.count("\n") == 1, said
    assert time.monotonic() - start < 60


def test_a_flood_behind_the_first_answers_ends_in_an_error(tool, server, machine) -> None:
    machine.hooks[b"qXfer"] = lambda packet: [server.emit(b"+" + b"$O4142#ab" * 4000) for _ in range(1000)] and b"Q"
    start = time.monotonic()
    assert tool("list", timeout=0.3).status == 3
    assert time.monotonic() - start < 60


ANSWERS = [
    (b"vFile:open", b"F"), (b"vFile:open", b"F-1"), (b"vFile:open", b"F-1,"), (b"vFile:open", b"Fzz"), (b"vFile:open", b"F-1,ffffffffffffffffffffff"),
    (b"vFile:open", b"F1,2,3,4;5"), (b"vFile:open", b""), (b"vFile:open", b"E01"), (b"vFile:pread", b"F5;abc"), (b"vFile:pread", b"F0;abc"),
    (b"vFile:pread", b"F-5;abc"), (b"vFile:pread", b"Fffffffff;"), (b"vFile:pread", b"F3"), (b"vFile:pread", b"F3c0;" + b"x" * 0x3c0),
    (b"vFile:pread", b"F4;\xff\xfe\0\n"), (b"qSupported", b"PacketSize="), (b"qSupported", b"PacketSize=0"), (b"qSupported", b"PacketSize=ffffffffffff"),
    (b"qSupported", b"PacketSize=ffffffff;PacketSize=1"), (b"vFile:close", b"F-1,9"), (b"vFile:close", b"OK"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "answer"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers_that_make_no_sense(tool, machine, request_: bytes, answer: bytes) -> None:
    machine.hooks[request_] = lambda packet: answer
    for words in (["measurement", "web"], ["launch", "web"]):
        said = tool(*words, timeout=0.15)
        assert said.status in (0, 1, 3) and said.err.count("\n") == (said.status != 0), said


TABLES = [
    "", "<osdata", "<osdata>", "<osdata><item></item></osdata>", "<osdata>" + "<item>" * 5000, "<osdata>" + "<item></item>" * 5000,
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><osdata><item><column name="Name">&b;</column></item></osdata>',
    '<osdata><item><column name="Name">\x1b[2J&#27;]0;x&#7;</column><column name="State">a\nb</column></item></osdata>',
    '<osdata><item><column name="Name">' + "n" * 100_000 + "</column></item></osdata>", "\0" * 1000, '<osdata><item><column name="name"/></item>',
    '<osdata><item><column name="Guest">99999999999999999999999</column><column name="Name">web</column></item></osdata>',
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_tables_that_are_none(tool, machine, table: str) -> None:
    machine.table = table
    for words in (
        ["list"],
        ["list", "--json"],
        ["debug", "web"],
        ["registers", "web"],
        ["top", "-n", "1", "--interval", "0.01"],
    ):
        said = tool(*words, timeout=2)
        assert said.status in (0, 1, 3) and said.err.count("\n") == (said.status != 0), said
        assert not re.search(r"[^\n\x20-\x7e]", said.out + said.err), said


def test_a_table_has_a_limit_of_rows(tool, machine) -> None:
    machine.table = "<osdata>" + "<item></item>" * 4096
    assert len(tool("list", "--json").json()) == 4096
    machine.table += "<item></item>"
    said = tool("list")
    assert (said.status, said.err) == (3, "sevisorctl.py: the control guest's table has more than 4096 rows\n")


def test_a_table_without_an_end_is_not_read_for_ever(tool, machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctl.hostio.LARGEST_OBJECT", 100_000)
    machine.hooks[b"qXfer"] = lambda packet: b"m" + b"<item/>" * 50
    said = tool("list")
    assert said.status == 3 and "has no end" in said.err


def test_an_object_without_an_end_is_not_read_for_ever(tool, machine) -> None:
    machine.hooks[b"vFile:pread"] = lambda packet: b"F100;" + b"x" * 256
    said = tool("platform", "status")
    assert said.status == 3 and "has more than 65536 bytes" in said.err
    assert tool("measurement", "web").status == 3


@pytest.mark.parametrize(
    "text",
    [
        "", "<feature", '<feature name="x"><reg name="a"/></feature>', '<feature name="x"><reg name="a" bitsize="7"/></feature>',
        '<feature name="x"><reg name="a" bitsize="0"/></feature>', '<feature name="x">' + '<reg name="a" bitsize="8"/>' * 2000 + "</feature>",
        '<xi:include href="target.xml"/>', '<xi:include href="core.xml"/>' * 100, '<feature name="x"><reg name="\x1b[2J" bitsize="8" regnum="99999"/></feature>',
        '<feature name="x"><reg name="a" bitsize="9992"/></feature>',
    ],
)  # fmt: skip
def test_descriptions_of_registers_that_make_no_sense(
    tool, machine, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "TARGET", text)
    said = tool("registers", "plain", timeout=2)
    assert said.status in (0, 3) and not re.search(r"[^\n\x20-\x7e]", said.out + said.err), said
    assert machine.attached is None and machine.guest("plain").state == "paused"


def test_the_words_of_a_refusal_are_bounded_and_harmless(tool, machine) -> None:
    machine.hooks[b"qRcmd"] = lambda packet: b"O" + (b"\x1b]0;x\x07 no\nno " * 1000).hex().encode() + b"\0OK"
    machine.size = 0x20000
    said = tool("resume", "web")
    assert said.status == 1 and said.err.count("\n") == 1 and len(said.err) < 10_000
    assert not re.search(r"[^\n\x20-\x7e]", said.err)


# ---------------------------------------------------------------- for programs


def test_errors_have_one_family(sevisor, server, machine) -> None:
    assert issubclass(TimedOut, Unreached) and issubclass(Uncertain, Unreached) and issubclass(Unreached, ControlError)
    with pytest.raises(Refused) as refused:
        sevisor.launch("web")
    assert refused.value.errno == fake.EBUSY
    with pytest.raises(Refused):
        sevisor.status("../platform")
    for wrong in (
        lambda: sevisor.attest("web", b"short"),
        lambda: sevisor.session("web", 1, b"", b""),
        lambda: sevisor.secret("web", bytes(52), b"odd"),
        lambda: sevisor.pek_import(b"", b""),
        lambda: Connection.open("nowhere"),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_consoles_are_followed(sevisor, machine) -> None:
    seen = sevisor.console("web", forever=True)
    assert next(seen) == b"hello\r\nlogin: "
    machine.guest("web").printed += b"root\r\n"
    assert next(seen) == b"root\r\n"
    seen.close()
    assert not machine.handles


def test_packets_are_as_large_as_the_other_end_takes(place, server, machine) -> None:
    for size in (0x100, 0x4000):
        machine.size = size
        server.requests.clear()
        with Connection.open(place.to, 2.0) as sevisor:
            sevisor.poke("plain", 0, b"#" * 20_000)
        assert bytes(machine.guest("plain").memory[:20_000]) == b"#" * 20_000
        longest = max(len(fake.framed(request)) for request in server.requests)
        assert size // 3 < longest <= size


def test_a_slow_lines_requests_are_not_sent_again(place, server, machine) -> None:
    """With a longer timeout all other waits are longer in proportion: an acknowledgement may take its time."""
    with Connection.open(place.to, 300) as sevisor:
        sevisor.status("web")
        asked = len(server.requests)
        sevisor.status("web")
        usual = len(server.requests) - asked
        server.faults.append("delay 3")
        sevisor.status("web")
        assert not server.faults
        assert len(server.requests) == asked + 2 * usual
