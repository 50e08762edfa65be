#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Boots Sevisor's disk image and shows the operator's console.

On a terminal, what you type goes to that console (Ctrl-] is the hypervisor's own key, Ctrl-C gives up). Without
one, this program is the operator: it answers the sample Linux guest's question. Where the control guest has the machine's
second serial port, the first line says how to reach it.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import select  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import termios  # noqa: E402
import time  # noqa: E402
import tty  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402

import attendant  # noqa: E402
import image  # noqa: E402
import machines  # noqa: E402
import packing  # noqa: E402
from console import ConsoleTimeout  # noqa: E402
from emulator import Emulator  # noqa: E402
from launch_program import NO_ENCRYPTION, SERIAL_COM2, LaunchProgram  # noqa: E402
from pack import cli, files  # noqa: E402
from pack.errors import PackError  # noqa: E402
from qmp import QmpError  # noqa: E402
from sayings import FINAL_LINE, LINUX_PROMPT  # noqa: E402


OPERATOR = "guest/sevisorctl.py"
unsaid: list[OSError] = []  # why not all that the machine said could be written


def show(data: bytes) -> None:
    """What the machine says. When nobody reads on (`| head`), or the disk is full, it runs to its end all the same."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        cli.close_output()
        if not isinstance(error, BrokenPipeError):
            unsaid.append(error)


@contextmanager
def keys_at_once() -> Iterator[None]:
    """The terminal hands over each key as it is typed; Ctrl-C still interrupts us."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def forward_keys(machine: Emulator) -> str:
    with keys_at_once():
        while not (reason := machine.off()):
            ready, _, _ = select.select([sys.stdin], [], [], 0.2)
            if ready:
                typed = os.read(sys.stdin.fileno(), 1024)
                machine.send(typed.replace(b"\n", b"\r"))
    return reason


def answer_prompts(machine: Emulator, guests: list[str]) -> str:
    """The operator when there is none: types a line for each Linux guest that asks."""
    prompt = re.compile(rf"^(\S+)\| {LINUX_PROMPT}$", re.MULTILINE)  # with nothing typed behind it
    asked = 0
    while not (reason := machine.off()):
        names = prompt.findall(machine.console.text)
        for name in names[asked:]:
            attendant.type_line(machine, guests.index(name) + 1, "hello from the operator", len(guests))
        asked = len(names)
        time.sleep(0.2)
    return reason


def verdict(machine: Emulator, reason: str, stock: bool) -> str:
    """ "" when all went well, else what did not, as one sentence."""
    if reason != "guest-shutdown":
        return f"the machine stopped before its guests were done: {reason}"
    if FINAL_LINE not in machine.console.lines:
        return f"the machine powered off, but never said {FINAL_LINE!r}"
    if not stock:
        counters = machines.counters(machine)
        cli.say(f"run: the SEV machine counted {', '.join(f'{value} {name}' for name, value in counters.items())}")
        if counters["coherency faults"]:
            return "the machine saw accesses through stale cache lines"
    return f"standard output: {unsaid[0].strerror}" if unsaid else ""


def line_of_control(program: LaunchProgram, folder: Path, stock: bool) -> str:
    """How to reach the control guest, as one sentence; "": there is none on the machine's second serial port, or it is refused."""
    for guest in program.guests.values():
        if guest.flags & SERIAL_COM2 and not (stock and guest.encryption != NO_ENCRYPTION):
            return f"operate it by {OPERATOR} --to unix:{folder / machines.CONTROL_SOCKET} list (--help has more)"
    return ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = Path(os.environ.get("BUILD", ".build"))
    parser.epilog = """\
examples:
  make run RUN="--guests guests.toml"                 the emulated EPYC with SEV boots other guests
  make run RUN="--stock --time-limit 120"             without SEV: encrypted guests are refused
  make run RUN="--fault hang:LAUNCH_START"            a secure processor that does not answer

exit status:
  0    all guests ended as expected, and the machine powered itself off
  1    anything else, which the last line explains
  2    the command line is wrong
  130  ended by Ctrl-C; 128 + N by another signal
"""
    parser.add_argument("--image", type=Path, default=build / "sevisor.img", help="the disk to boot (%(default)s)")
    parser.add_argument("--guests", type=Path, metavar="TOML", help="boot these guests instead of the image's")
    parser.add_argument("--efi", type=Path, metavar="EFI", help="boot this packed EFI file instead of the image's")
    parser.add_argument("--build", type=Path, default=build, help="what --guests packs from (%(default)s)")
    parser.add_argument("--stock", action="store_true", help="in Debian's own QEMU, which has no SEV")
    parser.add_argument("--memory", default="2G", help="the machine's memory (%(default)s)")
    parser.add_argument("--cpu", help="another CPU model for --stock")
    parser.add_argument("--fault", help="what the secure processor does wrong, e.g. hang:LAUNCH_START")
    parser.add_argument("--trace", type=Path, help="write the secure processor's commands there, as JSON lines")
    parser.add_argument("--time-limit", type=seconds, default=900, metavar="SECONDS", help="give up then (%(default)s)")
    args = parser.parse_args()
    if args.guests and args.efi:
        parser.error("give either --guests or --efi")
    return args


def seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def run(args: argparse.Namespace, folder: Path) -> str:
    if args.trace and not args.trace.absolute().parent.is_dir():
        return f"{args.trace}: there is no such folder to write the trace into"
    efi = folder / "boot.efi"
    if args.guests:
        packing.pack_file(args.guests, args.build / "boot" / "sevisor.efi", args.build, efi)
    elif args.efi:
        efi.write_bytes(files.read(args.efi))
    elif not args.image.is_file():
        return f"there is no {args.image}: `make image` makes it"
    else:
        image.read_file(args.image, image.BOOT_PATH, efi)
    image.check_bootable(efi, args.guests or args.efi or args.image)
    disk = packing.bootable(efi) if args.guests or args.efi else args.image.resolve()
    if args.stock:
        words = machines.stock(args.memory, cpu=args.cpu)
    else:
        words = machines.sev(folder, args.memory, fault=args.fault)
    program = LaunchProgram(efi)
    uart = [*machines.COM1, *machines.CONTROL_LINE]
    if line := line_of_control(program, folder, args.stock):
        cli.say(f"run: {line}")
    with Emulator(
        words, [disk], name="run", time_limit=args.time_limit, echo=show, folder=folder, uart=uart
    ) as machine:
        if sys.stdin.isatty():
            reason = forward_keys(machine)
        else:
            reason = answer_prompts(machine, list(program.guests))
        machine.console.settle()
        problem = verdict(machine, reason, args.stock)
    if args.trace and not args.stock:
        files.write(args.trace, (folder / machines.TRACE).read_bytes())
    return problem


def work() -> int:
    args = arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="sevisor-run-") as folder:
            problem = run(args, Path(folder))
    except (ConsoleTimeout, QmpError, RuntimeError, PackError, subprocess.SubprocessError) as error:
        problem = str(error)
    except OSError as error:
        problem = files.words(error)
    if problem:
        print(f"run: FAILED: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(cli.call("run", work))
