# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Errors and exit status of the commands: an error that a user can cause is one sentence on standard error, never a traceback.

A command's first lines let Ctrl-C end it at once, since Python's own handler would print a traceback of the imports:

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
    """A signal that ends the command, after cleanup."""

    def __init__(self, number: int) -> None:
        self.number = number


def say(text: str) -> None:
    """Prints a line. A closed pipe (`| head`) is no error; a full disk is one."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError as error:
        close_output()
        raise PackError(f"standard output: {error.strerror}") from None


def warn(text: str) -> None:
    """Prints a line on standard error, which may be closed."""
    text = "\n".join(map(printable, text.split("\n")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


def close_output() -> None:
    """Discards buffered output, so that Python's flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: object) -> None:
    for other in files.ENDING:
        signal.signal(other, signal.SIG_IGN)  # a second signal does not interrupt the cleanup
    raise Interrupted(number)


def _open_closed() -> None:
    """Opens closed standard streams on /dev/null, so that no file opened later gets their descriptors."""
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
        with files.inputs_protected():
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
        except SystemExit as end:  # argparse has printed its message
            sys.stdout.flush()  # of --help
            if isinstance(end.code, str):
                warn(f"{name}: {end.code}")
                return 1
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
    try:
        sys.stdout.flush()
    except OSError:  # what could not be written is no second error at exit
        close_output()
    # A word of hundreds of letters is a file's content given in place of its name.
    problem = re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", problem)
    warn(f"{name}: {problem}")
    return 1
