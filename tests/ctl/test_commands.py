# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Each command of sevisorctl against a control guest in memory: what it asks for, what it says, its JSON and exit status."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from ctl_fake import certificate

from ctl import arguments, commands, top
from ctl.transport import Address

ROOT = Path(__file__).resolve().parents[2]


def test_list_has_a_row_for_each_guest(tool, machine) -> None:
    said = tool("list")
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0] == ["GUEST", "NAME", "STATE", "ENCRYPTION", "VCPUS", "MEMORY", "POLICY", "ASID", "LAUNCHES"]
    assert [row[:4] for row in rows[1:]] == [
        ["1", "web", "running", "sev"],
        ["2", "db", "none", "sev"],
        ["3", "plain", "paused", "none"],
    ]
    found = tool("list", "--json").json()
    assert found[0] == {
        "guest": 1, "name": "web", "state": "running", "encryption": "sev", "vcpus": 2, "memory": 262144, "policy": 1, "asid": 0, "launches": 1,
    }  # fmt: skip
    machine.guests.clear()
    assert tool("list", "--json").json() == []
    assert tool("list").status == 0


def test_status_shows_each_line(tool) -> None:
    lines = dict(line.split(maxsplit=1) for line in tool("status", "web").out.splitlines() if len(line.split()) > 1)
    assert lines["state:"] == "running" and lines["policy:"] == "1" and lines["digest:"] == "12" * 32
    found = tool("--json", "status", "web").json()
    assert found["state"] == "running" and found["memory"] == 262144 and len(found["exits"]) == 16
    assert found["digest"] == "12" * 32  # no number, although it has no letter
    assert found["end-reason"] == ""


def test_a_guest_lives_and_dies(tool, machine) -> None:
    assert tool("pause", "web").status == 0
    assert tool("resume", "web").out == "guest web: runs\n"
    assert tool("end", "web").status == 0
    assert tool("wait", "web", "ended", "--seconds", "5").out == "guest web: ended\n"
    assert tool("launch", "web", "--wait", "5").out == "guest web: running\n"
    assert tool("end", "web", "--wait", "5").out == "guest web: ended\n"
    assert tool("launch", "web").out == "guest web: is being launched\n"
    words = [line.split()[-1] for line in machine.done]
    assert words == ["pause", "resume", "end", "launch", "end", "launch"]


def test_relaunch_ends_what_is_there_and_waits_for_it(tool, machine) -> None:
    assert tool("relaunch", "web", "--wait", "5", "--json").json() == {"guest": "web", "state": "running"}
    assert [line.split()[-1] for line in machine.done] == ["end", "launch"]
    machine.done.clear()
    machine.guest("web").goes("refused")
    assert tool("relaunch", "web").status == 0
    assert [line.split()[-1] for line in machine.done] == ["launch"]


def test_a_refused_launch_says_why(tool, machine) -> None:
    machine.guest("web").goes("ended")
    machine.guest("web").end_reason = "no memory"
    said = tool("launch", "web", "--wait", "5")
    assert (said.status, said.err) == (1, "sevisorctl.py: guest web: refused: no memory\n")


def test_refusals_have_the_control_guests_words_and_status_1(tool, machine) -> None:
    said = tool("resume", "web")
    assert (said.status, said.out) == (1, "")
    assert said.err == "sevisorctl.py: /guest/web/command: guest web is running\n"
    assert tool("status", "nobody").err == "sevisorctl.py: /guest/nobody/status: there is no guest nobody\n"
    assert tool("--json", "measurement", "db").status == 1
    machine.hooks[b"qRcmd"] = lambda packet: b""
    assert (
        tool("resume", "web").err == "sevisorctl.py: /guest/web/command: it is in use, or not in the state for this\n"
    )


def test_wait_that_takes_too_long_is_status_3_and_says_the_state(tool) -> None:
    said = tool("wait", "web", "ended", "refused", "--seconds", "0.3")
    assert (said.status, said.err) == (3, "sevisorctl.py: guest web: is running, not ended or refused, after 0.3 s\n")


@pytest.mark.parametrize(
    "words",
    [
        [], ["nonsense"], ["status"], ["status", "a/b"], ["status", "n" * 32], ["wait", "web", "happy"], ["attest", "web", "-o", "x", "--nonce", "12"],
        ["dump", "web", "--address", "-1", "--size", "1", "-o", "x"], ["dump", "web", "--address", "0", "--size", "0", "-o", "x"],
        ["session", "web", "--policy", "0x100000000", "--dh-cert", "x", "--session", "x"], ["top", "-n", "0"], ["platform"],
        ["platform", "explode"], ["wait", "web", "ended", "--seconds", "nan"], ["registers", "web", "-3"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_status_2(tool, server, words: list[str]) -> None:
    said = tool(*words)
    assert said.status == 2 and "error: " in said.err and not server.requests


def test_console_is_given_as_it_is_to_a_pipe(tool, machine) -> None:
    machine.guest("web").printed[:] = b"a\r\n\x1b[31mred\0\xff" + bytes(range(256)) * 40
    done = tool("console", "web")
    assert done.status == 0
    found = json.loads(tool("console", "web", "--json").out)
    assert found["guest"] == "web" and found["text"].startswith("a\r\n\x1b[31mred\0\\xff")


def test_log(tool) -> None:
    assert tool("log").out == "Sevisor: 3 guests\n"
    assert tool("log", "--json").json() == {"text": "Sevisor: 3 guests\n"}


def test_send_types_a_line_in_as_many_parts_as_the_guest_takes(tool, machine) -> None:
    machine.guest("web").uart = 0
    assert tool("send", "web", "echo", "--flag", "x" * 50).status == 0
    assert bytes(machine.guest("web").typed) == b"echo --flag " + b"x" * 50 + b"\n"
    machine.guest("web").typed.clear()
    assert tool("send", "-n", "web", "y").status == 0
    assert bytes(machine.guest("web").typed) == b"y"


def test_measurement_as_the_owners_tool_takes_it(tool, tmp_path: Path) -> None:
    expected = hashlib.sha256(b"measure web").digest() + bytes(range(16))
    assert tool("measurement", "web", "-o", tmp_path / "m").out == base64.b64encode(expected).decode() + "\n"
    assert (tmp_path / "m").read_bytes() == expected
    assert tool("measurement", "web", "--json").json()["mnonce"] == bytes(range(16)).hex()
    assert tool("digest", "web").out == hashlib.sha256(b"web").hexdigest() + "\n"


def test_attest_writes_the_report_for_the_nonce(tool, machine, tmp_path: Path) -> None:
    nonce = bytes(range(100, 116))
    found = tool("attest", "web", "--nonce", nonce.hex(), "-o", tmp_path / "r", "--json").json()
    assert (
        found["nonce"] == nonce.hex() and found["policy"] == 1 and found["digest"] == hashlib.sha256(b"web").hexdigest()
    )
    report = (tmp_path / "r").read_bytes()
    assert len(report) == 208 and report[:16] == nonce
    assert tool("attest", "web", "-o", tmp_path / "r").status == 0
    assert (tmp_path / "r").read_bytes()[:16] != nonce  # random


def test_a_report_for_another_nonce_is_refused(tool, machine, tmp_path: Path) -> None:
    true = machine.content
    machine.content = lambda path: bytes(208) if "report-" in path else true(path)
    said = tool("attest", "web", "-o", tmp_path / "r")
    assert said.status == 1 and "the report is for another nonce" in said.err and not (tmp_path / "r").exists()


def test_a_guest_is_launched_by_its_owner(tool, machine, tmp_path: Path) -> None:
    """As the help describes it: session, measurement, secret, resume."""
    cert, blob, header = certificate(9), bytes(range(128)), bytes(range(52))
    (tmp_path / "c").write_bytes(base64.encodebytes(cert))
    (tmp_path / "s").write_bytes(blob)
    (tmp_path / "h").write_bytes(b"\xef\xbb\xbf" + base64.b64encode(header) + b"\r\n")
    (tmp_path / "d").write_bytes(b"}$#*" * 8)
    assert tool("launch", "db", "--wait", "5").out == "guest db: session\n"
    words = ["session", "db", "--policy", "0x1", "--dh-cert", tmp_path / "c", "--session", tmp_path / "s"]
    assert tool(*words).status == 0
    assert machine.guest("db").got["session"] == b"\1\0\0\0" + cert + blob
    assert tool("wait", "db", "held", "--seconds", "5").status == 0
    assert tool("measurement", "db").status == 0
    assert tool("secret", "db", "--header", tmp_path / "h", "--data", tmp_path / "d").status == 0
    assert machine.guest("db").got["secret"] == header + b"\xff" * 8 + b"}$#*" * 8
    assert tool("secret", "db", "--header", tmp_path / "h", "--data", tmp_path / "d", "--address", "0x8000").status == 0
    assert machine.guest("db").got["secret"][52:60] == (0x8000).to_bytes(8, "little")
    (tmp_path / "d").write_bytes(b"\xbd" * 16)
    said = tool("secret", "db", "--header", tmp_path / "h", "--data", tmp_path / "d")
    assert said.status == 1 and "BAD_MEASUREMENT" in said.err
    assert tool("resume", "db").status == 0
    assert machine.guest("db").state == "running"


def test_files_of_another_size_are_refused_before_anything_is_asked(tool, server, tmp_path: Path) -> None:
    for name, size in (
        ("cert", 2084),
        ("short", 127),
        ("session", 128),
        ("header", 52),
        ("odd", 17),
        ("large", 16400),
        ("empty", 0),
    ):
        (tmp_path / name).write_bytes(bytes(size))
    here = tmp_path
    for words, named in (
        (["session", "db", "--policy", "1", "--dh-cert", here / "short", "--session", here / "session"], "short"),
        (["session", "db", "--policy", "1", "--dh-cert", here / "cert", "--session", here / "short"], "short"),
        (["session", "db", "--policy", "1", "--dh-cert", here / "nothing", "--session", here / "session"], "nothing"),
        (["secret", "db", "--header", here / "short", "--data", here / "session"], "short"),
        (["secret", "db", "--header", here / "header", "--data", here / "odd"], "odd"),
        (["secret", "db", "--header", here / "header", "--data", here / "large"], "large"),
        (["secret", "db", "--header", here / "header", "--data", here / "empty"], "empty"),
        (["platform", "pek-import", "--pek", here / "cert", "--oca", here / "short"], "short"),
        (["platform", "export", "-o", here / "x", "--cek", here / "short"], "short"),
        (["platform", "export", "-o", here / "x", "--ca", here / "cert"], "cert"),
        (["platform", "export", "-o", here / "x", "--cek", here / "cert"], "another chip"),
    ):
        said = tool(*words)
        assert said.status == 1 and named in said.err and said.err.count("\n") == 1, said
    assert not [request for request in server.requests if request.startswith(b"vFile:pwrite")]
    assert not (here / "x").exists()


def test_dump_and_poke(tool, machine, tmp_path: Path) -> None:
    plain = machine.guest("plain")
    said = tool("dump", "plain", "--address", "0x101", "--size", "5K", "-o", tmp_path / "m")
    assert said.status == 0 and said.err == ""
    assert (tmp_path / "m").read_bytes() == bytes(plain.memory[0x101 : 0x101 + 5120])
    data = b"}#$*" * 900 + b"end"
    (tmp_path / "new").write_bytes(data)
    assert tool("poke", "plain", "--address", "4097", tmp_path / "new", "--json").json()["bytes"] == len(data)
    assert bytes(plain.memory[4097 : 4097 + len(data)]) == data
    assert plain.memory[4096] == 0 and plain.memory[4097 + len(data)] == (4097 + len(data)) % 256


def test_memory_that_the_policy_or_the_guest_does_not_have(tool, machine, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"before")
    said = tool("dump", "web", "--address", "0", "--size", "16", "-o", tmp_path / "m")
    assert said.status == 1 and "policy 0x1 forbids debugging" in said.err
    assert tool("poke", "web", "--address", "0", tmp_path / "m").status == 1
    said = tool("dump", "plain", "--address", "0x3fff0", "--size", "17", "-o", tmp_path / "m")
    assert (said.status, said.err) == (1, "sevisorctl.py: guest plain: has no memory at 0x40000\n")
    assert (tmp_path / "m").read_bytes() == b"before"


def test_registers_leave_a_guest_in_its_state(tool, machine) -> None:
    said = tool("registers", "plain", "1")
    assert said.out.splitlines()[0].split() == ["rax:", "0x0000000000001122"]
    assert machine.guest("plain").state == "paused"
    machine.guest("plain").goes("running")
    found = tool("registers", "plain", "--json").json()
    assert found == {"rax": 0x1122, "rbx": 0x1123, "rip": 0x1124, "eflags": 0x1125, "st0": None}
    assert machine.guest("plain").state == "running" and machine.attached is None
    said = tool("registers", "plain", "2")
    assert (said.status, said.err) == (1, "sevisorctl.py: guest plain: has no vCPU 2\n")
    assert machine.guest("plain").state == "running" and machine.attached is None
    assert "policy 0x1 forbids debugging" in tool("registers", "web").err
    assert "neither running nor paused" in tool("registers", "db").err


def test_debug_prints_what_gdb_needs(tool) -> None:
    said = tool("debug", "plain")
    assert said.out.startswith("gdb -ex 'target extended-remote /") and said.out.endswith("-ex 'attach 3'\n")
    assert tool("debug", "nobody").status == 1
    assert commands.gdb_command(Address.parse("/dev/ttyS1@9600"), 2) == [
        "gdb", "-ex", "set serial baud 9600", "-ex", "target extended-remote /dev/ttyS1", "-ex", "attach 2",
    ]  # fmt: skip
    assert "target extended-remote tcp:[::1]:4440" in commands.gdb_command(Address.parse("tcp:[::1]:4440"), 2)


def test_platform_status(tool) -> None:
    found = tool("platform", "status", "--json").json()
    assert found["api"] == "1.55" and found["build"] == 31 and found["state"] == "working"
    assert "sev-ready:" in tool("platform", "status").out


def test_export_is_what_sevctl_writes(tool, tmp_path: Path) -> None:
    assert tool("platform", "export", "-o", tmp_path / "x").status == 0
    own = b"".join(certificate(number) for number in range(4))
    assert (tmp_path / "x").read_bytes() == own
    signed = (
        certificate(3)[:0x10].translate(bytes(range(255, -1, -1))) + certificate(3)[0x10:0x414] + bytes(2084 - 0x414)
    )
    (tmp_path / "cek").write_bytes(signed)
    for size in (1664, 3200):
        (tmp_path / "ca").write_bytes(bytes(size))
        words = (
            "platform",
            "export",
            "-o",
            tmp_path / "x",
            "--cek",
            tmp_path / "cek",
            "--ca",
            tmp_path / "ca",
            "--json",
        )
        assert tool(*words).json()["certificates"] == ["PDH", "PEK", "OCA", "CEK", "ASK", "ARK"]
        assert (tmp_path / "x").read_bytes() == own[: 3 * 2084] + signed + bytes(size)


def test_platform_keys(tool, machine, tmp_path: Path) -> None:
    found = tool("platform", "id", "--json").json()
    assert [one["id"] for one in found] == [bytes(range(64)).hex(), bytes(range(64, 128)).hex()]
    assert found[0]["cek"].endswith(f"/cek/id/{found[0]['id']}")
    assert tool("platform", "pek-csr", "-o", tmp_path / "csr").status == 0
    assert (tmp_path / "csr").read_bytes() == certificate(4)
    (tmp_path / "oca").write_bytes(certificate(5))
    assert tool("platform", "pek-import", "--pek", tmp_path / "csr", "--oca", tmp_path / "oca").status == 0
    assert machine.done[-1].startswith("/platform/pek-import")


def test_platform_commands_are_refused_while_guests_live(tool, machine) -> None:
    said = tool("platform", "reset")
    assert (said.status, said.err) == (1, "sevisorctl.py: /platform/command: SEV guests live: end them first\n")
    machine.guest("web").goes("ended")
    for word in ("pek-gen", "pdh-gen", "df-flush", "nop", "shutdown", "init", "reset"):
        assert tool("platform", word, "--json").json() == {"command": word}
    assert [line.split()[-1] for line in machine.done] == [
        "pek-gen",
        "pdh-gen",
        "df-flush",
        "nop",
        "shutdown",
        "init",
        "reset",
    ]


def test_top_shows_shares_and_exits(tool) -> None:
    found = tool("top", "-n", "1", "--interval", "0.01", "--json").json()
    assert found["seconds"] == 1.0
    assert found["guests"][0] == {
        "name": "web",
        "state": "running",
        "vcpus": 2,
        "cpu%": 25.0,
        "exits/s": 250,
        "most": "io",
    }
    assert [row["name"] for row in found["guests"]] == ["web", "db", "plain"]
    lines = tool("top", "-n", "2", "--interval", "0.01").out.splitlines()
    assert lines[0].startswith("3 guests on 4 CPUs; memory 3.0 of 4.0 GiB free; ASIDs 1 of 15 used")
    assert lines[1].split() == ["NAME", "STATE", "VCPUS", "CPU%", "EXITS/S", "MOST"]
    assert sum(line.startswith("3 guests") for line in lines) == 2


def test_exits_have_the_names_of_the_hypervisor() -> None:
    text = (ROOT / "hv" / "vm" / "vcpu.h").read_text()
    body = text[text.index("enum vcpu_exit_kind {") :].split("}")[0]
    names = [line.split("VCPU_EXIT_")[1].split(",")[0].lower() for line in body.splitlines() if "VCPU_EXIT_" in line]
    assert tuple(names) == top.EXITS


# ---------------------------------------------------------------- help, completion


def test_the_line_comes_from_the_environment(tool, place, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.delenv(arguments.VARIABLE, raising=False)
    assert arguments.main(["list"]) == 2
    monkeypatch.setenv(arguments.VARIABLE, "somewhere")
    assert arguments.main(["list"]) == 2
    monkeypatch.setenv(arguments.VARIABLE, place.to)
    assert arguments.main(["list"]) == 0


def test_each_command_has_help(capfd) -> None:
    inner = arguments._subparsers(arguments.parser()).choices
    names = [[name] for name in inner] + [
        ["platform", name] for name in arguments._subparsers(inner["platform"]).choices
    ]
    assert len(names) > 30
    for words in names:
        assert arguments.main([*words, "--help"]) == 0
        said = capfd.readouterr()
        assert said.out.startswith(f"usage: sevisorctl.py {words[0]}") and not said.err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sevisorctl la", ["launch"]), ("sevisorctl.py --json st", ["status"]), ("sevisorctl --to unix:/x pau", ["pause"]),
        ("sevisorctl status w", ["web"]), ("sevisorctl status ", ["web", "db"]), ("sevisorctl --timeout 3 status web ", []),
        ("sevisorctl wait web ru", ["running"]), ("sevisorctl wait web ended ref", ["refused"]), ("sevisorctl platform pd", ["pdh-gen"]),
        ("sevisorctl dump --si", ["--size"]), ("sevisorctl --to ", []), ("sevisorctl nonsense ", []), ("sevisorctl 'st", []),
        ("sevisorctl launch --wait ", []), ("sevisorctl launch --wait 5 d", ["db"]), ("", []), ("sevisorctl list x", []),
    ],
)  # fmt: skip
def test_completion(line: str, expected: list[str]) -> None:
    assert arguments.completions(line, ["web", "db"]) == expected


def test_names_are_completed_from_the_live_system(tool, place, monkeypatch: pytest.MonkeyPatch, machine) -> None:
    machine.guests[1].name = "$(reboot)"  # the other end is not trusted with a shell
    assert arguments.completions(f"sevisorctl --to {place.to} console ") == ["web", "plain"]
    monkeypatch.setenv(arguments.VARIABLE, "tcp:127.0.0.1:1")
    assert arguments.completions("sevisorctl console ") == []
