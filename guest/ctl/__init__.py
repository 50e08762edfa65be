# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's way to Sevisor's control guest; sevisorctl.py is the command, Connection is for programs."""

from .connection import Connection, Status, Value
from .errors import ControlError, Refused, TimedOut, Uncertain, Unreached
from .transport import Address

__all__ = ["Address", "Connection", "ControlError", "Refused", "Status", "TimedOut", "Uncertain", "Unreached", "Value"]
