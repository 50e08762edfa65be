# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control guest on its machine: stock gdb on the second serial port lists, looks at, ends and launches the other guests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import markers
import packing
import sayings
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot
from packing import GuestSpec


def gdb(machine: Emulator, *commands: str) -> str:
    """A gdb that connects, does all this and leaves; what it printed."""
    script = machine.folder / "script.gdb"
    script.write_text("\n".join(["set confirm off", "set pagination off", "set width 0", "set remotetimeout 120",
                                 f"target extended-remote {CONTROL_SOCKET}", *commands, "echo \\nthe end\\n", ""]))  # fmt: skip
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-x", script.name], cwd=machine.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    assert "\nthe end\n" in done.stdout, done.stdout
    return done.stdout


def status(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z-]+): (.*)$", text, re.M))


def status_of(machine: Emulator, guest: str) -> dict[str, str]:
    gdb(machine, f"remote get /guest/{guest}/status status")
    return status((machine.folder / "status").read_text())


@pytest.mark.sev
def test_an_operator_with_stock_gdb(pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [
        packing.control(),
        packing.hello("ticker", "none", "ticks=1000000"),
        packing.hello("secret", "sev", "hold"),
    ]
    image = packing.bootable(pack("control-guest", guests))
    with boot_sev(image, name="ctl", cpus=2, uart=[*COM1, *CONTROL_LINE]) as machine:
        machine.wait_for(r"^secret\| hello: holding")
        said = gdb(machine, "info os guests", "info os platform",
                   *(f"remote get {path} {name}" for name, path in (
                       ("log", "/log"), ("measurement", "/guest/secret/measurement"), ("digest", "/guest/secret/digest"),
                       ("console", "/guest/secret/console"), ("status", "/guest/secret/status"))))  # fmt: skip
        rows = [line.split() for line in said.splitlines()]
        assert ["1", "control", "running", "host"] in [row[:4] for row in rows]
        assert ["3", "secret", "running", "sev", "1", str(16 << 20), "0x1"] in [row[:7] for row in rows]
        assert ["api", "1.55"] in rows and ["sev-ready", "yes"] in rows
        text = machine.console.text
        read = {name: (machine.folder / name).read_bytes() for name in ("log", "measurement", "digest", "console")}
        assert b"launch secret: LAUNCH_MEASURE\n" in read["log"]
        told = sayings.measurements(text)["secret"]
        assert read["measurement"] == told.measure + told.nonce
        assert read["digest"] == sayings.digests(text)["secret"]
        assert b"hello: SEV active" in read["console"] and b"hello: holding" in read["console"]
        assert status((machine.folder / "status").read_text())["state"] == "running"

        # What is typed, what is ended, what is launched.
        (machine.folder / "typed").write_text("x")
        gdb(machine, "remote put typed /guest/secret/console")
        machine.wait_for(r"^ended secret: poweroff")
        gdb(machine, "monitor launch secret")
        machine.wait_for(r"(?s)^secret\| hello: holding.*^secret\| hello: holding")
        said = gdb(machine, "monitor pause ticker", "monitor list", "monitor resume ticker", "monitor end secret",
                   "monitor end control")  # fmt: skip
        assert ["2", "ticker", "paused", "none"] in [line.split()[:4] for line in said.splitlines()]
        assert "error: this is the control guest itself" in said
        machine.wait_for(r"^ended secret: destroyed")
        launched = status_of(machine, "secret")
        assert (launched["state"], launched["launches"], launched["end"]) == ("ended", "2", "destroyed")


@pytest.mark.stock
def test_a_guest_whose_entry_lacks_control_says_so_and_ends(pack: Callable[..., Path], boot_stock: Boot) -> None:
    guests = [GuestSpec("common", "2M", "none", {"image": "${BUILD}/control.bin", "cmdline": "port=com2"})]
    with boot_stock(packing.bootable(pack("no-control", guests)), name="no-control") as machine:
        machine.wait_off()
        said = sayings.guest_lines(machine.console.text, "common")
    assert said == ["control: this guest is not the control guest: its entry in guests.toml lacks control = true"]
    assert [end[:2] for end in sayings.ends(machine.console.text)] == [("common", "poweroff")]


@pytest.mark.sev
def test_stock_gdb_looks_into_an_encrypted_guest_unless_its_policy_forbids_it(
    pack: Callable[..., Path], boot_sev: Boot
) -> None:
    guests = [packing.control(), packing.hello("open", "sev", "hold", policy=0), packing.hello("shut", "sev", "hold")]
    with boot_sev(packing.bootable(pack("attach", guests)), name="att", cpus=2, uart=[*COM1, *CONTROL_LINE]) as machine:
        machine.wait_for(r"^open\| hello: holding")
        machine.wait_for(r"^shut\| hello: holding")
        said = gdb(machine, "attach 2", "p/x $cr3", "x/s 0x1000", "x/s 0x200000", "set var *(char *)0x1001 = 'A'",
                   "x/s 0x1000", "detach", "python", "try:", " gdb.execute('attach 3')", "except gdb.error as error:",
                   " print(error)", "end", "monitor why", "monitor list")  # fmt: skip
    assert "$1 = 0x4000\n" in said
    assert '0x1000:\t"marker=open hold"' in said and '0x1000:\t"mArker=open hold"' in said
    assert f'0x200000:\t"{markers.private_marker("open").decode()}"' in said
    assert "Attaching to process 3 failed" in said and "policy forbids debugging" in said
    rows = [line.split()[:3] for line in said.splitlines()]
    assert ["2", "open", "running"] in rows and ["3", "shut", "running"] in rows


def disassembly(build: Path) -> dict[int, str]:
    """Hello's instructions by address."""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", build / "guest" / "hello.elf"],
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    return {int(at, 16): words.strip() for at, words in re.findall(r"^ +([0-9a-f]+):\t(.*)$", listing, re.M)}


def follows(code: dict[int, str]) -> Callable[[int, int], bool]:
    """Whether the instruction at one address can be followed by that at another."""
    next_of = dict(zip(sorted(code), sorted(code)[1:], strict=False))

    def check(at: int, then: int) -> bool:
        words = code[at]
        if words.startswith(("ret", "iret", "jmp *", "call *")):
            return then in code
        target = re.match(r"(?:j\w+|call) +([0-9a-f]+)", words)
        jumps = target is not None and then == int(target[1], 16)
        return jumps or (then == next_of.get(at) and not words.startswith(("jmp", "call")))

    return check


@pytest.mark.sev
def test_stock_gdb_steps_and_stops_an_encrypted_guest(build: Path, pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [packing.control(), packing.hello("open", "sev", "ticks=1000000", policy=0),
              packing.hello("other", "none", "ticks=1000000")]  # fmt: skip
    ticks, number, handler = (
        packing.symbol(build / "guest" / "hello.elf", name) for name in ("ticks", "put_number", "timer_interrupt")
    )
    code = disassembly(build)
    rdtsc = next(at for at, words in code.items() if words == "rdtsc")
    with boot_sev(
        packing.bootable(pack("steps", guests)), name="steps", cpus=2, uart=[*COM1, *CONTROL_LINE]
    ) as machine:
        machine.wait_for(r"^open\| hello: tick 2")
        said = gdb(
            machine, "set architecture i386:x86-64", "attach 2",
            # A breakpoint in the code; a register is changed, and the guest prints what it holds then.
            f"hbreak *{number:#x}", "continue", 'printf "at %lx with %ld\\n", $pc, $rdi', "set var $rdi = 424242",
            "delete", f"hbreak *{rdtsc:#x}", "continue", "delete",
            # Each step is an instruction: WRMSR, STI and HLT, too; the timer's interrupt waits meanwhile.
            "python", f"before = int(gdb.parse_and_eval('*(int *){ticks:#x}'))",
            "places = [int(gdb.parse_and_eval('(unsigned long)$pc'))]", "for _ in range(40):",
            " gdb.execute('stepi', to_string=True)", " places.append(int(gdb.parse_and_eval('(unsigned long)$pc')))",
            "print('went', *('%x' % place for place in places))",
            f"print('ticked', int(gdb.parse_and_eval('*(int *){ticks:#x}')) - before)",
            "end", "info registers eflags",
            # A watchpoint of data: it stops behind the handler's store.
            f"watch *(int *){ticks:#x}", "continue", 'printf "changed near %lx\\n", $pc', "delete",
            # Memory of the encrypted guest: the count that the handler adds to.
            f"set var *(int *){ticks:#x} = *(int *){ticks:#x} + 5", f"hbreak *{handler:#x}", "continue",
            'printf "handler at %lx\\n", $pc', "monitor list", "detach",
        )  # fmt: skip
        assert f"at {number:x} with " in said
        machine.wait_for(r"^open\| hello: tick 424242")
        went = [int(place, 16) for place in re.findall(r"^went (.*)$", said, re.M)[0].split()]
        legal = follows(code)
        wrong = [(hex(a), hex(b)) for a, b in zip(went, went[1:], strict=False) if not legal(a, b)]
        assert not wrong and {"wrmsr", "sti", "hlt", "cli"} <= {code[place] for place in went}
        assert "ticked 0\n" in said
        assert int(re.findall(r"^eflags +(0x\w+)", said, re.M)[0], 16) & 0x100 == 0  # TF is not seen
        changed = int(re.findall(r"^changed near ([0-9a-f]+)", said, re.M)[0], 16)
        assert handler < changed < handler + 0x40
        assert f"handler at {handler:x}\n" in said
        rows = [line.split()[:3] for line in said.splitlines()]
        assert ["2", "open", "paused"] in rows and ["3", "other", "running"] in rows
        # Detached, it goes on, undisturbed.
        told = [int(count) for count in re.findall(r"^open\| hello: tick (\d+)$", machine.console.text, re.M)]
        assert told.count(424242) == 1 and all(count in (place, 424242) for place, count in enumerate(told, 1))
        machine.wait_for(rf"^open\| hello: tick {len(told) + 5}$")
        assert "ended open" not in machine.console.text
