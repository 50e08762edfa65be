#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's command line: Sevisor's guests and its SEV platform, over the control guest's line."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ctl.arguments import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
