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
from .errors import PackError

EXIT_STATUS = """\
exit status:
  0    all is well
  1    a file or a value is refused; one sentence on standard error says why
  2    the command line is wrong
  130  ended by Ctrl-C
"""
_INTERRUPTED = 130


def say(text: str) -> None:
    """Prints a line. That nobody reads on (`| head`) is no error; a full disk is one."""
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError as error:
        close_output()
        raise PackError(f"standard output: {error.strerror}") from None


def warn(text: str) -> None:
    """A line on standard error, if there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)


def close_output() -> None:
    """What is still buffered goes nowhere, so that Python's own flush at exit has nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def call(name: str, work: Callable[[], int]) -> int:
    """The command's exit status: that of `work`, which may raise PackError."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        try:
            return work()
        except SystemExit as end:  # argparse has said what it had to say
            if sys.stdout is not None:
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
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    # A word of hundreds of letters is something given in place of a file's name.
    problem = re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", problem)
    print(f"{name}: {problem}", file=sys.stderr)
    return 1
