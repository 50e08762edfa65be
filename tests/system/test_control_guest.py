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
from machines import COM1, Boot
from packing import GuestSpec

SOCKET = "control.sock"  # in the machine's folder
COM2 = ["-chardev", f"socket,id=control,path={SOCKET},server=on,wait=off", "-serial", "chardev:control"]


def control() -> GuestSpec:
    keys = {"image": "${BUILD}/control.bin", "cmdline": "port=com2", "serial": "com2"}
    return GuestSpec("control", "2M", "host", keys, flags=("control",))


def gdb(machine: Emulator, *commands: str) -> str:
    """A gdb that connects, does all this and leaves; what it printed."""
    script = machine.folder / "script.gdb"
    script.write_text("\n".join(["set confirm off", "set pagination off", "set width 0", "set remotetimeout 120",
                                 f"target extended-remote {SOCKET}", *commands, "echo \\nthe end\\n", ""]))  # fmt: skip
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
    guests = [control(), packing.hello("ticker", "none", "ticks=1000000"), packing.hello("secret", "sev", "hold")]
    image = packing.bootable(pack("control-guest", guests))
    with boot_sev(image, name="ctl", cpus=2, uart=[*COM1, *COM2]) as machine:
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
    guests = [control(), packing.hello("open", "sev", "hold", policy=0), packing.hello("shut", "sev", "hold")]
    with boot_sev(packing.bootable(pack("attach", guests)), name="att", cpus=2, uart=[*COM1, *COM2]) as machine:
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
