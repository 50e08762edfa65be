# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl for a firmware lab: any command of the SEV API, the platform's state and firmware, the acceptance run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ctl_fake as fake
import pytest

from ctl import Connection, Refused, arguments, firmware, sevapi
from ctl.sevapi import BY_NAME, COMMANDS, Role, Whose

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"ctl_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


lab_fake = _load("fake_firmware")


@pytest.fixture
def machine() -> object:
    """Instead of the one without a SEV firmware."""
    return lab_fake.Lab()


# ---------------------------------------------------------------- the table, from two sources


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    program = tmp_path_factory.mktemp("rows") / "rows"
    subprocess.run(
        ["gcc", "-iquote", ROOT, "-ffunction-sections", "-Wl,--gc-sections", HERE / "rows.c", "-o", program], check=True
    )
    lines = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_the_table_of_commands_is_the_drivers(rows: dict[str, list[str]]) -> None:
    """Typed twice: names, numbers, sizes, for whom, when, policy bits, addresses with their lengths, zeros."""
    assert [command.name for command in COMMANDS] == list(rows)
    kinds = {Role.READS: 1, Role.WRITES: 2, Role.STATE: 3, Role.READS_GUEST: 5, Role.WRITES_GUEST: 6}
    for command in COMMANDS:
        number, size, whose, states, forbidden, zero, *references = rows[command.name]
        assert (command.number, command.size, command.forbidden) == (
            int(number),
            int(size),
            int(forbidden),
        ), command.name
        assert command.whose == int(whose), command.name
        assert sum(1 << "UIW".index(state) for state in command.states) == int(states), command.name
        if command.whose is Whose.HYPERVISOR:
            assert not command.fields
            continue
        told = []
        for one in command.fields:
            if one.role in kinds:
                length = command.field(one.length)
                assert (length is None) == (one.length == "") and one.size == 8, (command.name, one)
                told.append(f"{kinds[one.role]},{one.at},{length.at if length else 0}")
        assert told == references, command.name
        words = {
            at // 4 for one in command.fields if one.role is Role.ZERO for at in range(one.at, one.at + one.size, 4)
        }
        assert sum(1 << word for word in words) == int(zero), command.name
        # Every byte of the buffer belongs to one field.
        assert [at for one in command.fields for at in range(one.at, one.at + one.size)] == list(
            range(command.size)
        ), command.name


def test_names_of_fields_and_statuses_are_those_of_the_header() -> None:
    header = (ROOT / "psp" / "sev_abi.h").read_text()
    statuses = re.findall(r'SEV_STATUS\((\w+), (0x[0-9a-f]{2}), "([^"]*)"\)', header)
    assert len(statuses) > 35
    assert sevapi.STATUSES == {int(number, 16): (name, words) for name, number, words in statuses}
    found = 0
    for name, body in re.findall(r"struct sev_(\w+)_buffer \{(.*?)\n\}", header, re.S):
        command = BY_NAME[name.upper()]
        if command.fields:
            assert [one.name for one in command.fields] == re.findall(r"uint\d+_t (\w+);", body), name
            found += 1
    assert found >= 4
    model = (ROOT / "tests" / "machine" / "firmware" / "sevfw_abi.h").read_text()
    for bit, value in sevapi.POLICY_BITS.items():
        assert re.search(rf"#define SEVFW_POLICY_{bit} \(UINT32_C\(1\) << {value.bit_length() - 1}\)", model)
    for names, enum in ((sevapi.PLATFORM_STATES, "PLATFORM"), (sevapi.GUEST_STATES, "GUEST")):
        assert [(name, str(i)) for i, name in enumerate(names)] == re.findall(rf"SEVFW_{enum}_(\w+) = (\d),", model)


def test_structures_and_results_are_those_of_the_interface() -> None:
    header = (ROOT / "guest" / "control.h").read_text()
    results = re.findall(
        r"CONTROL_(\w+) = (\d+),", header[header.index("enum control_result") : header.index("struct control_answer")]
    )
    assert [(one.name, str(int(one))) for one in firmware.Result] == results
    assert (firmware._REQUEST.size, firmware._ANSWER.size) == (128, 264)
    assert f"#define BULK_DATA {firmware.DATA:#x}u" in (ROOT / "guest" / "control" / "bulk.h").read_text()


# ---------------------------------------------------------------- one command


def test_a_command_is_given_by_fields_and_answered_in_words(tool, machine) -> None:
    said = tool("firmware", "GET_ID")
    lines = dict(re.findall(r"^(\S+): +(.*)$", said.out, re.M))
    assert said.status == 0 and lines["status"] == "SUCCESS (0x00): done" and lines["id_len"] == "128"
    assert lines["*id_paddr"] == f"{bytes(range(64)).hex()}... (128 bytes)" and lines["time"] == "250 us"
    found = tool("firmware", "get-id", "id_len=0", "--json")
    assert found.status == 1
    found = fake_json(found.out)
    assert (found["status"], found["name"], found["fields"]["id_len"]) == (4, "INVALID_LENGTH", 128)
    found = tool("firmware", "PLATFORM_STATUS", "--json").json()
    assert found["fields"]["api_minor"] == 55 and found["words"] == "SUCCESS (0x00): done" and found["us"] == 250


def fake_json(text: str) -> dict:
    import json

    return json.loads(text)


def test_files_are_what_a_command_reads_and_writes(tool, machine, tmp_path: Path) -> None:
    csr = tmp_path / "csr"
    assert tool("firmware", "PEK_CSR", "-o", csr).status == 0
    assert csr.read_bytes() == lab_fake.real_certificate(4)
    machine.guests[0].goes("ended")
    said = tool("firmware", "PEK_CERT_IMPORT", f"pek_paddr=@{csr}", f"oca_paddr=@{csr}")
    assert said.status == 1 and "INVALID_CERTIFICATE (0x06): a certificate is malformed or does not verify" in said.out
    both = tmp_path / "both"
    assert tool("firmware", "PDH_CERT_EXPORT", "-o", both).status == 0
    assert len(both.read_bytes()) == 4 * 2084
    said = tool("firmware", "PEK_CERT_IMPORT", "--data", csr)
    assert said.status == 1 and "reads 2 things" in said.err


def test_a_guests_memory_by_its_address(tool, machine, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"sixteen bytes!!!")
    words = ("firmware", "DBG_ENCRYPT", "--guest", "web", "dst_paddr=0x1000", "--data", tmp_path / "data")
    assert tool(*words).status == 0 and machine.guests[0].memory[0x1000:0x1010] == b"sixteen bytes!!!"
    found = tool("firmware", "DBG_DECRYPT", "--guest", "web", "src_paddr=4096", "len=16", "--json").json()
    assert bytes.fromhex(found["data"]["dst_paddr"]) == b"sixteen bytes!!!"
    nonce = "5a" * 16
    found = tool("firmware", "ATTESTATION", "--guest", "web", f"mnonce={nonce}", "--json").json()
    assert found["data"]["paddr"].startswith(nonce)


def test_a_buffer_is_given_as_it_is(tool, machine) -> None:
    found = tool("firmware", "0x0c", "--buffer", "0000030000000000" + "80000000", "--json").json()
    assert found["data"]["id_paddr"] == bytes(range(128)).hex()
    assert found["buffer"] == "0000030000000000" + "80000000"
    said = tool("firmware", "0x81", "--buffer", "00")
    assert said.status == 1 and "command 0x81" in said.out and "knows no such command" in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["RING_BUFFER"], "one command at a time"), (["LAUNCH_START"], "when a SEV guest is launched"), (["ACTIVATE_EX"], "by ACTIVATE"),
        (["DECOMMISSION"], "when a SEV guest ends"), (["PEK_GEN"], "end web, shut first"), (["GUEST_STATUS"], "--guest NAME"),
        (["COPY", "--guest", "web", "src_paddr=0", "dst_paddr=4096", "len=16"], "guest web is running; COPY wants it paused: `pause` it first"),
        (["DBG_DECRYPT", "--guest", "shut", "src_paddr=0", "len=16"], "guest shut has policy 0x1 NODBG; forbidden with 0x1 NODBG"),
        (["SEND_FINISH", "--guest", "shut"], "paused: `pause` it first"), (["INIT"], "the platform is in state WORKING; INIT wants UNINIT: `platform shutdown`"),
        (["GUEST_STATUS", "--guest", "web", "handle=5"], "no handle, which it fills in"), (["LAUNCH_SECRET", "--guest", "web"], "wants it held"),
        (["RECEIVE_UPDATE_DATA", "--guest", "web"], "wants it receiving"),
    ],
)  # fmt: skip
def test_what_the_hypervisor_refuses_is_explained(tool, machine, words: list[str], says: str) -> None:
    machine.guests.append(fake.Guest("shut", state="running", policy=1))
    if words == ["INIT"]:
        machine.guests[0].goes("ended")
        machine.guests.pop()
    said = tool("firmware", *words)
    assert said.status == 1 and "not sent: " in said.out and says in said.out, said
    assert not machine.sent or machine.sent == [0x0E]  # the tool has looked whether the hypervisor was only busy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["GET_ID", "nonsense=1"], "has no field 'nonsense' here: id_paddr, id_len"), (["GET_ID", "id_paddr=4096"], "which this tool chooses"),
        (["GET_ID", "id_len=0x100000000"], "has 4 bytes"), (["GET_ID", "id_len=many"], "give a number"), (["GET_ID", "id_len=0xfffff"], "which has room for"),
        (["SWAP_IN", "--guest", "web"], "needs a page"), (["ATTESTATION", "--guest", "web", "mnonce=12"], "16 bytes"),
        (["NOP", "x=1"], "give --buffer"), (["NOP", "--buffer", "00" * 81], "no command's buffer"), ([], "which command?"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_sent(tool, machine, words: list[str], says: str) -> None:
    said = tool("firmware", *words)
    assert said.status == 1 and says in said.err and not machine.sent, said


@pytest.mark.parametrize(
    "words", [["NONSENSE"], ["GET_ID", "id_len"], ["GET_ID", "--buffer", "0"], ["GET_ID", "--guest", "a/b"]]
)
def test_a_wrong_command_line(tool, machine, words: list[str]) -> None:
    assert tool("firmware", *words).status == 2


def test_a_platform_that_is_coming_up_is_waited_for(tool, machine) -> None:
    machine.busy = 3
    assert tool("firmware", "DF_FLUSH").status == 0 and machine.sent == [0x0E, 0x0A]


def test_the_answer_to_anothers_command_is_not_believed(tool, machine) -> None:
    carry_out = machine.carry_out

    def elsewhere(path: str, data: bytes) -> None:
        carry_out(path, b"\xff" * 4 + data[4:])

    machine.carry_out = elsewhere
    said = tool("firmware", "NOP")
    assert said.status == 3 and "the answer to another command" in said.err


def test_a_lost_answer_is_read_again(tool, machine, server) -> None:
    """The command's close is repeated and finds nothing open: what it did stands in the answer."""
    machine_file, lost = machine.file, []

    def file(packet: bytes) -> bytes:
        answer = machine_file(packet)
        if packet.startswith(b"pwrite") and not lost:  # the next one is the close
            lost.append(packet)
            server.faults.append("answer lost")
        return answer

    machine.file = file
    assert tool("firmware", "NOP", timeout=1.0).status == 0 and machine.sent == [0x0E]


def test_firmware_status(tool) -> None:
    said = tool("firmware-status", "web")
    assert dict(re.findall(r"^(\S+): +(.*)$", said.out, re.M)) == {
        "guest": "web", "handle": "1", "policy": "0x0", "asid": "1", "state": "3 RUNNING",
    }  # fmt: skip
    found = tool("firmware-status", "web", "--json").json()
    assert found == {"guest": "web", "handle": 1, "policy": 0, "asid": 1, "state": 3, "state-name": "RUNNING"}
    said = tool("firmware-status", "db")
    assert said.status == 1 and "guest db is none" in said.err


# ---------------------------------------------------------------- state and image


def test_the_platforms_state_goes_and_comes_by_file(tool, machine, tmp_path: Path) -> None:
    state = tmp_path / "state"
    said = tool("platform", "state", "-o", state)
    assert said.status == 1 and "only after INIT_EX" in said.err and not state.exists()
    said = tool("platform", "init", "--blank")
    assert said.status == 1 and "is in state working; INIT_EX wants uninit: `platform shutdown` first" in said.err
    machine.guests[0].goes("ended")
    assert tool("platform", "shutdown").status == 0
    assert tool("platform", "init", "--blank", "--json").json() == {"command": "init", "state": "blank"}
    assert machine.busy == 0  # waited for
    assert tool("platform", "state", "-o", state).status == 0
    assert state.read_bytes() == b"K" + bytes(32767)
    state.write_bytes(bytes(range(256)) * 128)
    assert tool("platform", "shutdown").status == 0
    assert tool("platform", "init", "--state", state).status == 0
    assert machine.state == b"K" + (bytes(range(256)) * 128)[1:]
    state.write_bytes(b"short")
    said = tool("platform", "init", "--state", state)
    assert said.status == 1 and "has 5 bytes: a state of `platform state` has 32768" in said.err
    assert tool("platform", "init", "--state", state, "--blank").status == 2


def test_firmware_is_loaded_when_the_platform_is_down(tool, machine, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"$PS1\x21" + bytes(40000))
    said = tool("platform", "download", image)
    assert said.status == 1 and "`platform shutdown` first" in said.err
    machine.guests[0].goes("ended")
    assert tool("platform", "shutdown").status == 0
    machine.sent.clear()
    assert tool("platform", "download", image, "--json").json() == {
        "before": "1.55 build 31",
        "after": "1.55 build 33",
        "bytes": 40005,
    }
    assert machine.sent.count(0x0B) == 1
    machine.platform["api"] = "1.49"
    assert tool("platform", "download", image).status == 0 and machine.sent.count(0x0B) == 3
    image.write_bytes(b"nonsense")
    said = tool("platform", "download", image)
    assert said.status == 1 and "status 0xa" in said.err
    image.write_bytes(b"")
    assert "is empty" in tool("platform", "download", image).err
    assert tool("platform", "init").status == 0 and machine.sent[-1] == 1


# ---------------------------------------------------------------- the acceptance run


def ran(said) -> dict[str, tuple[str, bool]]:
    return {row["command"]: (row["status"], row["good"]) for row in fake_json(said.out)["commands"]}


def accounted(said) -> None:
    found = fake_json(said.out)
    assert {row["command"] for row in found["commands"]} | set(found["not-exercised"]) == set(BY_NAME)
    assert not {row["command"] for row in found["commands"]} & set(found["not-exercised"])
    assert all(found["not-exercised"].values())


def test_exercise_changes_nothing_by_itself(tool, machine) -> None:
    said = tool("exercise", "--json")
    accounted(said)
    assert said.status == 0 and set(ran(said)) == {
        "NOP",
        "PLATFORM_STATUS",
        "GET_ID",
        "PDH_CERT_EXPORT",
        "PEK_CSR",
        "DF_FLUSH",
    }
    found = fake_json(said.out)
    assert found["good"] and found["not-exercised"]["PEK_GEN"] == "changes the platform: --destructive"
    assert found["not-exercised"]["COPY"] == "for a guest: --guest NAME"
    said = tool("exercise")
    assert re.search(r"^ok   GET_ID +0.2 ms  INVALID_LENGTH \(0x04\): .*asked for the length only", said.out, re.M)
    assert said.out.endswith("6 of 41 commands, 7 times, 0 bad\n")
    assert re.search(r"^     RING_BUFFER +the hypervisor gives", said.out, re.M)


def test_exercise_with_a_guest_leaves_its_memory_as_it_was(tool, machine, tmp_path: Path) -> None:
    before = bytes(machine.guests[0].memory)
    (tmp_path / "ca").write_bytes(bytes(1664))
    (tmp_path / "cek").write_bytes(fake.certificate(3))
    said = tool("exercise", "--guest", "web", "--ca", tmp_path / "ca", "--cek", tmp_path / "cek", "--json")
    accounted(said)
    assert said.status == 0, said
    assert bytes(machine.guests[0].memory) == before and machine.guests[0].state == "running" and not machine.sending
    found = ran(said)
    assert {"GUEST_STATUS", "COPY", "ATTESTATION", "SEND_START", "SEND_UPDATE_DATA", "SEND_UPDATE_VMSA", "SEND_CANCEL", "SWAP_OUT", "SWAP_IN",
            "LAUNCH_START", "ACTIVATE"} < set(found)  # fmt: skip
    assert found["SWAP_IN"][0].startswith("UNSUPPORTED")
    assert "gives the guest away" in fake_json(said.out)["not-exercised"]["SEND_FINISH"]
    assert machine.sent.count(0x61) == 3  # a pattern, and two pages restored
    said = tool("exercise", "--guest", "web", "--address", "0x2000", "--json")
    assert said.status == 0 and ran(said)["SEND_START"][0].startswith("INVALID_LENGTH")
    assert "--ca" in fake_json(said.out)["not-exercised"]["SEND_CANCEL"]


def test_exercise_says_what_a_guests_policy_forbids(tool, machine) -> None:
    machine.guests[0].policy = 9
    said = tool("exercise", "--guest", "web", "--json")
    accounted(said)
    missing = fake_json(said.out)["not-exercised"]
    assert said.status == 0 and machine.guests[0].state == "running"
    for name in ("DBG_DECRYPT", "COPY", "SWAP_OUT", "SEND_START"):
        assert "NODBG" in missing[name] or "NOSEND" in missing[name], (name, missing[name])
    assert tool("exercise", "--guest", "plain").status == 1


@pytest.mark.parametrize(
    ("number", "name"),
    [(0x0A, "DF_FLUSH"), (0x61, "DBG_ENCRYPT"), (0x36, "ATTESTATION"), (0x23, "GUEST_STATUS"), (4, "PLATFORM_STATUS")],
)
def test_exercise_fails_if_a_command_does(tool, machine, number: int, name: str) -> None:
    machine.wrong[number] = 0x13
    said = tool("exercise", "--guest", "web", "--json")
    accounted(said)
    assert said.status == 1 and not fake_json(said.out)["good"] and machine.guests[0].state == "running"
    assert ran(said)[name] == ("HWERROR_PLATFORM (0x13): hardware error; the platform is safe", False)
    assert re.search(rf"^BAD  {name} ", tool("exercise", "--guest", "web").out, re.M)


@pytest.mark.parametrize("broken", ["encrypt", "copy", "guest_status"])
def test_exercise_looks_at_what_a_command_did(tool, machine, broken: str) -> None:
    """A SEV firmware that says SUCCESS and does nothing."""
    setattr(machine, broken, lambda guest: 0)
    said = tool("exercise", "--guest", "web", "--json")
    assert said.status == 1, said
    assert any(not row["good"] and row["status"].startswith("SUCCESS") for row in fake_json(said.out)["commands"])


def test_exercise_that_is_destructive_brings_the_platform_up_again(tool, machine, tmp_path: Path) -> None:
    said = tool("exercise", "--destructive", "--json")
    accounted(said)
    assert said.status == 0 and "end web first" in fake_json(said.out)["not-exercised"]["SHUTDOWN"]
    assert not {1, 2, 3, 5, 7, 9, 0x0D} & set(machine.sent)
    machine.guests[0].goes("ended")
    (tmp_path / "image").write_bytes(b"$PS1\x22")
    said = tool("exercise", "--destructive", "--image", tmp_path / "image", "--json")
    accounted(said)
    assert said.status == 0, said
    assert {
        "PDH_GEN",
        "PEK_GEN",
        "PEK_CERT_IMPORT",
        "SHUTDOWN",
        "PLATFORM_RESET",
        "DOWNLOAD_FIRMWARE",
        "INIT_EX",
        "INIT",
    } < set(ran(said))
    assert machine.platform["state"] == "init" and machine.build == 0x22
    init, failed = machine.do_1, []

    def not_at_first() -> int:
        failed.append(1)
        return 0x13 if len(failed) == 1 else init()

    machine.do_1 = not_at_first
    machine.wrong[3] = 0x13  # goes wrong while it is down
    machine.wrong[0x0D] = 0x13
    said = tool("exercise", "--destructive", "--json")
    accounted(said)
    assert said.status == 1 and machine.platform["state"] == "init"


def test_exercise_ends_early_with_its_rows(tool, machine, server) -> None:
    attest = machine.attest

    def close(guest) -> int:
        server.faults.extend(["close"] * 50)
        return attest(guest)

    machine.attest = close
    said = tool("exercise", "--guest", "web", "--json", timeout=0.5)
    found = fake_json(said.out)
    assert said.status == 3 and found["error"] and len(found["commands"]) > 8
    accounted(said)


def test_completion_knows_the_commands() -> None:
    assert arguments.completions("sevisorctl firmware PEK_C", []) == ["PEK_CSR", "PEK_CERT_IMPORT"]
    assert {"firmware", "firmware-status", "exercise"} < set(arguments.completions("sevisorctl ", []))
    assert {"state", "init", "download"} < set(arguments.completions("sevisorctl platform ", []))
    assert arguments.completions("sevisorctl firmware-status w", ["web"]) == ["web"]


def test_the_list_needs_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert arguments.main(["firmware", "--list"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1 + len(COMMANDS)


# ---------------------------------------------------------------- the true control guest


@pytest.fixture
def real(build: Path, built, tmp_path: Path) -> Iterator[fake.Relay]:
    built(f"{os.environ.get('BUILD', '.build')}/unit/guest_control/control-host")
    folder = tmp_path / "real"
    folder.mkdir()
    found = fake.Relay(build / "unit" / "guest_control" / "control-host", folder)
    found.start()
    yield found
    found.stop()


def test_with_the_true_control_guest(tool, real, tmp_path: Path) -> None:
    found = tool("firmware", "GET_ID", "--json", to=real.to).json()
    assert bytes.fromhex(found["data"]["id_paddr"]) == b"I" * 128 and found["us"] == 250
    certificates = [tmp_path / "pek", tmp_path / "oca"]
    for i, path in enumerate(certificates):
        path.write_bytes(bytes([0x7D, 0x24 + i]) * 1042)
    words = ("firmware", "PEK_CERT_IMPORT", f"pek_paddr=@{certificates[0]}", f"oca_paddr=@{certificates[1]}")
    assert tool(*words, to=real.to).status == 0
    said = tool("firmware", "RING_BUFFER", to=real.to)
    assert said.status == 1 and "one command at a time" in said.out
    assert tool("firmware-status", "linux", "--json", to=real.to).json()["state-name"] == "RUNNING"
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 200)
    with Connection.open(real.to, 5.0) as sevisor:
        with pytest.raises(Refused, match="status 0xa"):
            sevisor.download(image.read_bytes())
        with pytest.raises(Refused, match="only after INIT_EX"):
            sevisor.platform_state()
        sevisor.init_ex(bytes(range(256)) * 128)
        assert sevisor.platform_state() == b"K" + (bytes(range(256)) * 128)[1:]
    said = tool("exercise", "--guest", "linux", "--address", "0xc000", "--destructive", "--json", to=real.to)
    assert fake_json(said.out)["error"] == ""
    accounted(said)
    rows = ran(said)
    assert {"COPY", "GUEST_STATUS", "DBG_DECRYPT", "DBG_ENCRYPT", "SWAP_OUT", "SWAP_IN"} < set(rows)
    assert all(rows[name][1] for name in ("COPY", "DBG_DECRYPT", "DBG_ENCRYPT")), said
    assert tool("status", "linux", "--json", to=real.to).json()["state"] == "running"
    assert "end linux" in fake_json(said.out)["not-exercised"]["SHUTDOWN"]
