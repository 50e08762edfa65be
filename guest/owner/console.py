# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Finds the platform's certificates in a log of Sevisor's console (key p, or `show-pdh` in guests.toml).

Their lines begin with `sev pdh: `, which no guest's line can.
"""

from __future__ import annotations

import base64
import codecs
import re
from dataclasses import dataclass

from pack.errors import PackError

from . import certificate

CHAIN, CHIP = "SEV CERTIFICATE CHAIN", "SEV CHIP ID"
_SIZES = {CHAIN: 4 * certificate.SIZE, CHIP: 64}
_LINE = re.compile(rb"^sev pdh: (.*?)\s*$", re.MULTILINE)
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Identity:
    chain: bytes  # PDH, PEK, OCA, CEK
    chip: bytes | None


def _last_block(lines: list[str], what: str) -> bytes | None:
    """The last block of this kind, since earlier ones may be from other boots; None: there is none."""
    begin, end = f"-----BEGIN {what}-----", f"-----END {what}-----"
    starts = [i for i, line in enumerate(lines) if line == begin]
    if not starts:
        return None
    body = lines[starts[-1] + 1 :]
    if end not in body:
        raise PackError(f"the last {what} in it has no end: it was not copied completely")
    try:
        found = base64.b64decode("".join(body[: body.index(end)]), validate=True)
    except ValueError:
        found = b""
    if len(found) != _SIZES[what]:
        raise PackError(f"the last {what} in it is damaged: print it again")
    return found


def read(data: bytes) -> Identity | None:
    """None: the log has no certificates."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # as some terminals' logs and shells' redirections are
        data = data.decode("utf-16", "replace").encode("ascii", "replace")
    text = _ESCAPES.sub(b"", data.removeprefix(codecs.BOM_UTF8)).replace(b"\r", b"")
    lines = [match.decode("ascii", "replace") for match in _LINE.findall(text)]
    chain = _last_block(lines, CHAIN)
    return Identity(chain, _last_block(lines, CHIP)) if chain else None
