# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's side of a SEV launch; owner.py is the command."""

import sys

try:
    import cryptography  # noqa: F401
except ModuleNotFoundError:
    sys.exit("Python's module cryptography is missing: install Debian's package python3-cryptography")
