# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Stock gdb, scripted, on the control guest as a program of this machine, whose hypervisor is a model (fake_hv.c)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Gdb = Callable[..., str]


@pytest.fixture
def gdb(build: Path, built: Callable[..., None], tmp_path: Path) -> Gdb:
    """Runs a script in a gdb that is connected; what it printed."""
    built("unit-guest-control")
    program = build / "unit" / "guest_control" / "control-host"

    def run(*commands: str) -> str:
        script = tmp_path / "script.gdb"
        script.write_text("\n".join(["set confirm off", "set pagination off", "set width 0", "set remotetimeout 60",
                                     f"target extended-remote | {program}", *commands, "echo \\nthe end\\n", ""]))  # fmt: skip
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-x", str(script)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert "\nthe end\n" in done.stdout, done.stdout
        return done.stdout

    return run


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_tables(gdb: Gdb) -> None:
    said = words(gdb("info os", "info os guests", "info os platform"))
    assert ["guests", "guests", "of", "the", "manifest:"] in [line[:5] for line in said]
    assert ["Guest", "Name", "State", "Encryption", "vCPUs", "Memory", "Policy", "ASID", "Launches"] in said
    assert ["3", "hello", "running", "sev", "1", "65536", "0x1", "0", "1"] in said
    assert ["api", "1.55"] in said


def test_attach_look_and_step(gdb: Gdb) -> None:
    said = gdb("attach 2", "info threads", "info registers", "p/x $cr3", "x/8xb 0x9000", "x/2xb 0xffffffff80009000",
               "stepi", "p/x $rip", "thread 2", "p/x $rax", "detach", "monitor list")  # fmt: skip
    assert '* 1    Thread 2.1 "linux" (paused, runnable) 0x0000000000009000 in ?? ()' in said
    assert '  2    Thread 2.2 "linux" (paused, runnable) 0x0000000000009100 in ?? ()' in said
    assert ["rax", "0x1122334455667788", "1234605616436508552"] in words(said)
    assert ["efer", "0x500", "1280"] in words(said)
    assert "$1 = 0x1000\n" in said
    assert ["0x9000:", "0x90", "0x97", "0x9e", "0xa5", "0xac", "0xb3", "0xba", "0xc1"] in words(said)
    assert ["0xffffffff80009000:", "0x90", "0x97"] in words(said)
    assert "$2 = 0x9001\n" in said
    assert "$3 = 0x1122334455667789\n" in said
    assert ["2", "linux", "running", "sev"] in [line[:4] for line in words(said)]


def test_writes_reach_registers_and_memory(gdb: Gdb) -> None:
    said = gdb("attach 2", "set var $rax = 0x1234", "p/x $rax", "set var *(char *)0x9001 = 0x55", "x/3xb 0x9000")
    assert "$1 = 0x1234\n" in said
    assert ["0x9000:", "0x90", "0x55", "0x9e"] in words(said)


def test_hardware_breakpoints_and_watchpoints(gdb: Gdb) -> None:
    said = gdb("attach 2", "hbreak *0x5000", "continue", "p/x $rip", "delete", "watch *(int *)0x8004", "continue")
    assert 'Thread 1 "linux" hit Breakpoint 1, 0x0000000000005000 in ?? ()' in said
    assert "$1 = 0x5000\n" in said
    assert "hit Hardware watchpoint 2: *(int *)0x8004" in said


def test_two_guests_at_once(gdb: Gdb) -> None:
    said = gdb("attach 2", "add-inferior", "inferior 2", "attach 5", "x/4xb 0x9000", "info inferiors")
    assert ["0x9000:", "0x90", "0x97", "0x9e", "0xa5"] in words(said)
    assert "process 2" in said and "process 5" in said


def test_a_guest_that_forbids_debugging_is_not_attached(gdb: Gdb) -> None:
    said = gdb("python", "try:", " gdb.execute('attach 3')", "except gdb.error as error:", " print(error)", "end",
               "monitor why")  # fmt: skip
    assert "Attaching to process 3 failed" in said
    assert "policy forbids debugging: the guest was launched with NODBG" in said


def test_kill_and_launch(gdb: Gdb) -> None:
    said = gdb("attach 2", "kill", "monitor list", "set remote exec-file linux", "starti", "p/x $rip", "monitor list")
    assert ["2", "linux", "ended", "sev"] in [line[:4] for line in words(said)]
    assert ["2", "linux", "paused", "sev"] in [line[:4] for line in words(said)]
    assert "$1 = 0x9000\n" in said


def test_monitor_commands_do_not_end_the_script(gdb: Gdb) -> None:
    said = gdb("monitor help", "monitor nonsense", "monitor launch nobody", "monitor pause open", "monitor list")
    assert "monitor launch NAME" in said
    assert "error: no such command; monitor help lists them" in said
    assert "error: no guest has this name" in said
    assert ["5", "open", "paused", "none"] in [line[:4] for line in words(said)]


def test_files_both_ways(gdb: Gdb, tmp_path: Path) -> None:
    memory = bytes((i * 7 + i // 256 & 0xFF) ^ 0x23 for i in range(0x3000))
    (tmp_path / "word").write_text("pause\n")
    (tmp_path / "wrong").write_text("nonsense\n")
    (tmp_path / "memory").write_bytes(memory)
    said = gdb(f"remote get /guest/linux/measurement {tmp_path}/measurement", f"remote get /platform/chain {tmp_path}/chain",
               f"remote put {tmp_path}/word /guest/linux/command", f"remote get /guest/linux/status {tmp_path}/status",
               f"remote put {tmp_path}/memory /guest/linux/memory", f"remote get /guest/linux/memory {tmp_path}/dump",
               "python", "try:", f" gdb.execute('remote put {tmp_path}/wrong /guest/linux/command')",
               "except gdb.error as error:", " print(error)", "end", "monitor why")  # fmt: skip
    assert (tmp_path / "measurement").read_bytes() == b"M" * 32 + b"N" * 16
    assert (tmp_path / "chain").read_bytes() == b"C" * 6252
    assert "state: paused\n" in (tmp_path / "status").read_text()
    dump = (tmp_path / "dump").read_bytes()
    assert len(dump) == 0x10000 and dump[: len(memory)] == memory
    assert "Remote I/O error: Invalid argument" in said
    assert "no such command: launch, end, pause, resume" in said
