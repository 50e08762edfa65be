# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What can go wrong between the operator and the control guest. `status` is the command's exit status."""

from __future__ import annotations

from pack.errors import PackError

DONE, REFUSED, USAGE, UNREACHED = 0, 1, 2, 3


class ControlError(PackError):
    """Any of these; the text is one sentence."""

    status = REFUSED


class Refused(ControlError):
    """The control guest, the hypervisor or the SEV firmware refused, in its own words."""

    def __init__(self, text: str, errno: int = 0) -> None:
        super().__init__(text)
        self.errno = errno  # of GDB's file I/O protocol; 0: none was given


class Unreached(ControlError):
    """There is no connection, or it is too bad to be used."""

    status = UNREACHED


class TimedOut(Unreached):
    """No answer, or not the awaited state, in the given time."""


class Uncertain(Unreached):
    """The answer to an operation was lost: it was carried out, but whether it succeeded is unknown."""


class Damaged(ControlError):
    """A stream is not what was written, or nobody could have written it."""


class Undecided(Unreached):
    """Nobody knows which of two machines has a guest; it runs on neither."""
