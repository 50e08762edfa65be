# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A trace of guests that live and end at the same time is cut as the commands say, in whatever order they come."""

from __future__ import annotations

import pytest
from mailbox_trace import BRING_UP, END, stages

pytestmark = pytest.mark.unit


def command(name: str, handle: int | None = None) -> dict:
    return {"command": name, "status": "SUCCESS"} | ({} if handle is None else {"handle": handle})


def test_a_flush_is_the_guests_that_waits_longest() -> None:
    """Also where another guest's DECOMMISSION comes between a DEACTIVATE and its DF_FLUSH."""
    trace = [
        command("INIT"), command("DF_FLUSH"), command("LAUNCH_START", 1), command("LAUNCH_START", 2), command("DEACTIVATE", 1),
        command("DEACTIVATE", 2), command("DF_FLUSH"), command("DECOMMISSION", 1), command("DF_FLUSH"), command("DECOMMISSION", 2),
        command("SHUTDOWN"),
    ]  # fmt: skip
    cut = {stage: [entry["command"] for entry in entries] for stage, entries in stages(trace, ("a", "b")).items()}
    whole = ["LAUNCH_START", "DEACTIVATE", "DF_FLUSH", "DECOMMISSION"]
    assert cut == {BRING_UP: ["INIT", "DF_FLUSH"], "a": whole, "b": whole, END: ["SHUTDOWN"]}


def test_a_flush_without_a_deactivated_guest_is_the_last_ones() -> None:
    trace = [command("LAUNCH_START", 1), command("DEACTIVATE", 1), command("DECOMMISSION", 1), command("DF_FLUSH")]
    cut = stages(trace, ("a",))
    assert [entry["command"] for entry in cut[END]] == ["DF_FLUSH"] and len(cut["a"]) == 3
