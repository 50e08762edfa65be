# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A QEMU of one's own: started with a private folder, watched, and ended with its test.

The emulators here never touch a process or a file that they did not make. Each has
a time limit from its start to its end, after which it is killed and says so. All limits are of
the time that the host leaves to QEMU: what it spends on others, while QEMU could run, is no fault.
"""

from __future__ import annotations

import mmap
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from console import Console, ConsoleTimeout
from qmp import Qmp, QmpError

# Debian's ovmf package.
OVMF = Path("/usr/share/OVMF")
OVMF_CODE = OVMF / "OVMF_CODE_4M.fd"
OVMF_VARS = OVMF / "OVMF_VARS_4M.fd"
# What it prints when nothing more will come.
HOPELESS = {
    "!!!! X64 Exception Type": "an exception that OVMF caught, and hangs after",
    "UEFI Interactive Shell": "nothing in the boot order could be started, OVMF shows its shell",
}


def option(value: Path | str) -> str:
    """As a value in one of QEMU's lists of options."""
    return str(value).replace(",", ",,")


def kept_waiting(pid: int) -> float:
    """Seconds for which a process could have run and was not let: others had the CPUs. Of its threads, the one that waited most."""
    waits = [0.0]
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            waits.append(int(path.read_text().split()[1]) / 1e9)
        except (OSError, IndexError):
            pass  # it is gone, or the kernel does not count
    return max(waits)


def firmware_arguments(directory: Path) -> list[str]:
    """OVMF with a variable store of its own."""
    variables = directory / "OVMF_VARS.fd"
    shutil.copyfile(OVMF_VARS, variables)
    return [
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}",
        "-drive", f"if=pflash,format=raw,unit=1,file={option(variables)}",
    ]  # fmt: skip


def disk_arguments(disks: Sequence[Path]) -> list[str]:
    """AHCI disks, booted in the order given; what is written to them is thrown away."""
    arguments: list[str] = []
    for index, disk in enumerate(disks):
        arguments += [
            "-drive", f"if=none,id=disk{index},format=raw,snapshot=on,file={option(disk)}",
            "-device", f"ide-hd,drive=disk{index},bus=ide.{index},bootindex={index + 1}",
        ]  # fmt: skip
    return arguments


class Emulator:
    """One run of a machine, from power-on until it is off."""

    def __init__(
        self,
        arguments: Sequence[str],
        disks: Sequence[Path],
        *,
        name: str = "machine",
        time_limit: float = 600,
        echo: Callable[[bytes], None] | None = None,
        folder: Path | None = None,
        hopeless: Mapping[str, str] = HOPELESS,
        line_rate: int | None = None,
        uart: Sequence[str] = ("-serial", "chardev:operator"),
    ) -> None:
        self.name = name
        self.time_limit = time_limit
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="sevisor-")
        self.folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        self.log = self.folder / "qemu.log"
        control = self.folder / "qmp"
        self.arguments = [
            *arguments,
            *firmware_arguments(self.folder),
            *disk_arguments(disks),
            "-display", "none", "-monitor", "none", "-net", "none", "-no-reboot", "-no-shutdown",
            "-chardev", "stdio,id=operator,signal=off", *uart,
            "-qmp", f"unix:{option(control)},server=on,wait=off",
        ]  # fmt: skip
        self._control = control
        self._echo = echo
        self._hopeless = hopeless
        self._line_rate = line_rate
        self._qmp: Qmp | None = None
        self._timer: threading.Timer | None = None
        self._waited = 0.0
        self.timed_out = False
        self.process: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------

    def start(self) -> Self:
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            # setpriv: QEMU goes when whoever runs the tests goes, however that ends.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self.folder,
            )  # fmt: skip
        assert self.process.stdout
        self.console = Console(self.process.stdout, self._echo, self._line_rate)
        self._watch(self.time_limit)
        return self

    def clock(self) -> float:
        """Seconds, as time.monotonic, but for those in which QEMU was kept from running."""
        if self.process:
            self._waited = max(self._waited, kept_waiting(self.process.pid))
        return time.monotonic() - self._waited

    def _watch(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        left = self.time_limit - (self.clock() - self.started)
        if left > 0 and self.process and self.process.returncode is None:
            self._watch(max(left, 0.1))
            return
        self.timed_out = True
        if self.process:
            self.process.kill()

    def off(self) -> str:
        """Why the machine is off, in QEMU's words ("guest-shutdown", "guest-reset", ...); "" while it runs."""
        assert self.process
        if self.timed_out:
            return f"the time limit of {self.time_limit:.0f} s was over"
        self.qmp.poll()
        for event in self.qmp.events:
            if event["event"] == "SHUTDOWN":
                return str(event["data"]["reason"])
        if self.process.poll() is not None:
            return f"QEMU ended with code {self.process.returncode}"
        for sign, reason in self._hopeless.items():
            if sign in self.console.text:
                self.console.settle()
                return reason
        return ""

    def wait_off(self, patience: float | None = None) -> str:
        """Waits until the machine is off. QEMU stays, to be asked for what it counted, until `close`."""
        deadline = self.clock() + (patience if patience is not None else self.time_limit)
        while not (reason := self.off()):
            if self.clock() > deadline:
                raise ConsoleTimeout(f"{self.name}: still on; the console's end:\n{self.console.tail()}")
            time.sleep(0.1)
        self.console.settle()
        if self.timed_out:
            raise ConsoleTimeout(f"{self.name}: {reason}; the console's end:\n{self.console.tail()}")
        return reason

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._qmp:
            self._qmp.close()
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.console.join(10)
            for stream in (self.process.stdin, self.process.stdout):
                try:
                    if stream:
                        stream.close()
                except OSError:
                    pass  # it was written to when QEMU was gone already
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self.close()

    # -- the operator's line ----------------------------------------------------

    def wait_for(self, pattern: str, patience: float | None = None) -> re.Match[str]:
        """The first match of `pattern` on the console; fails as soon as the machine is off without it."""
        limit = patience if patience is not None else self.time_limit
        try:
            return self.console.wait_for(pattern, limit, hopeless=self.off, clock=self.clock)
        except ConsoleTimeout as error:
            raise ConsoleTimeout(f"{self.name}: {error}\nQEMU's own words: {self.words()}") from error

    def send(self, data: bytes) -> None:
        assert self.process and self.process.stdin
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # the machine is off: nobody listens

    def words(self) -> str:
        """What QEMU itself had to say, but for what software emulation always says of CPU models."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line for line in lines if "TCG doesn't support requested feature" not in line)

    # -- inspection ---------------------------------------------------------------

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            try:
                process = self.process
                self._qmp = Qmp(self._control, patience=30, alive=lambda: process is None or process.poll() is None)
            except QmpError as error:
                raise QmpError(f"{self.name}: {error}; QEMU's own words: {self.words()}") from error
        return self._qmp

    def dump(self, size: int, base: int = 0) -> Dump:
        """The bytes of physical memory, as the memory chips hold them."""
        path = self.folder / f"memory-{base:x}"
        self.qmp.command("pmemsave", patience=300, val=base, size=size, filename=str(path))
        return Dump(path)


class Dump:
    """Bytes of physical memory in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def at(self, address: int, size: int) -> bytes:
        return self._map[address : address + size]

    def holds(self, needle: bytes) -> bool:
        assert needle
        return self._map.find(needle) >= 0

    def any_of(self, needles: Iterable[bytes]) -> list[bytes]:
        return [needle for needle in needles if self.holds(needle)]

    def close(self) -> None:
        self._map.close()
        self.path.unlink(missing_ok=True)
