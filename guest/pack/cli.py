# SPDX-License-Identifier: BSD-2-Clause-Patent
"""How a command ends: whatever a person can cause is one sentence on standard error, never a traceback.

A command's first lines let Ctrl-C end it at once, since Python's own handler would tell of the imports that it interrupts:

    import signal
    signal.signal(signal.SIGINT, signal.SIG_DFL)
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable

from . import files
from .errors import PackError, printable

EXIT_STATUS = """\
exit status:
  0    all is well
  1    a file or a value is refused; one sentence on standard error says why
  2    the command line is wrong
  130  ended by Ctrl-C; 128 + N by another signal
"""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command, once what it began is cleaned up."""

    def __init__(self, number: int) -> None:
        self.number = number


def say(text: str) -> None:
    """Prints a line. That nobody reads on (`| head`) is no error; a full disk is one."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError as error:
        close_output()
        raise PackError(f"standard output: {error.strerror}") from None


def warn(text: str) -> None:
    """A line on standard error; nobody need be there."""
    text = "\n".join(map(printable, text.split("\n")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


def close_output() -> None:
    """What is still buffered goes nowhere, so that Python's own flush at exit has nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: object) -> None:
    for other in files.ENDING:
        signal.signal(other, signal.SIG_IGN)  # so that a second one does not end the cleaning up
    raise Interrupted(number)


def _open_closed() -> None:
    """Standard streams that were closed lead nowhere, instead of to the next file that is opened."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, closefd=False))


def call(name: str, work: Callable[[], int]) -> int:
    """The command's exit status: that of `work`, which may raise PackError."""
    before = {number: signal.getsignal(number) for number in files.ENDING}
    for number, handler in before.items():
        if number == signal.SIGINT or handler != signal.SIG_IGN:  # as after nohup
            signal.signal(number, _interrupt)
    try:
        return _call(name, work)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call(name: str, work: Callable[[], int]) -> int:
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        try:
            return work()
        except SystemExit as end:  # argparse has said what it had to say
            sys.stdout.flush()  # of --help
            return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        close_output()
        return 0
    except PackError as error:
        problem = str(error)
    except OSError as error:
        problem = files.words(error)
    except MemoryError:
        problem = "this machine has too little memory for that"
    except Interrupted as end:
        warn(f"{name}: interrupted")
        return 128 + end.number
    # A word of hundreds of letters is something given in place of a file's name.
    problem = re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", problem)
    warn(f"{name}: {problem}")
    return 1
