# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's way to Sevisor's control guest; sevisorctl.py is the command, Connection is for programs.

Guests that move: `moves` has Snapshot, Restore and Migration, `ends` their Source and Target, each over a Link.
"""

from .connection import Connection, Status, Value
from .errors import ControlError, Damaged, Refused, TimedOut, Uncertain, Undecided, Unreached
from .link import Link
from .transport import Address

__all__ = [
    "Address", "Connection", "ControlError", "Damaged", "Link", "Refused", "Status", "TimedOut", "Uncertain", "Undecided",
    "Unreached", "Value",
]  # fmt: skip
