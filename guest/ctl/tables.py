# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Texts of the control guest: tables (osdata), status (`key: value` lines), descriptions of registers (target.xml).

They come from the other end of a line: the little XML that they are is read by patterns, without entities of their own.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from .errors import Unreached

MOST_ROWS = 4096
MOST_REGISTERS = 1024

_COLUMN = re.compile(r"""<column\s+name=(?:"([^"<>]*)"|'([^'<>]*)')\s*(?:/>|>([^<]*)</column>)""")


def osdata(text: str) -> list[dict[str, str]]:
    """The rows, by columns' names in lower case."""
    if "<osdata" not in text:
        raise Unreached("the control guest's table is no <osdata>: is it one?")
    rows = []
    for part in text.split("</item>")[:-1]:  # a pattern with an end would take quadratic time where there is none
        if len(rows) == MOST_ROWS:
            raise Unreached(f"the control guest's table has more than {MOST_ROWS} rows")
        rows.append(
            {
                html.unescape(column[1] or column[2] or "").lower(): html.unescape(column[3] or "")
                for column in _COLUMN.finditer(part.rpartition("<item>")[2])
            }
        )
    return rows


def status(data: bytes) -> dict[str, str]:
    """`key: value` lines; other lines go on with the value before."""
    found: dict[str, str] = {}
    last = ""
    for line in data.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() and not key[0].isspace():
            last = key.strip()
            found[last] = value.strip()
        elif last and line.strip():
            found[last] = f"{found[last]} {line.strip()}"
        if len(found) > MOST_ROWS:
            raise Unreached(f"the control guest's status has more than {MOST_ROWS} lines")
    return found


@dataclass(frozen=True)
class Register:
    name: str
    size: int  # bytes
    group: str  # the feature that it belongs to


_FEATURE = re.compile(r"""<feature\s+name=["']([^"'<>]{0,80})["']\s*>""")
_REG = re.compile(r"<reg\s+([^<>]*?)/?>")
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*["']([^"'<>]*)["']""")
INCLUDE = re.compile(r"""<xi:include\s+href=["']([\w.-]{1,60})["']\s*/>""")


def registers(text: str) -> list[Register]:
    """Registers in the order of the `g` packet, of target.xml with its includes in place."""
    found: list[tuple[int, Register]] = []
    number = 0
    pieces = _FEATURE.split(text)  # text, then names and texts
    for group, content in zip(pieces[1::2], pieces[2::2], strict=True):
        for reg in _REG.finditer(content):
            attributes = dict(_ATTRIBUTE.findall(reg[1]))
            bits = attributes.get("bitsize", "")
            if not re.fullmatch("[0-9]{1,4}", bits, re.ASCII) or int(bits) % 8 or not int(bits):
                raise Unreached("the control guest describes its registers in a way that makes no sense")
            regnum = attributes.get("regnum", "")
            number = int(regnum) if re.fullmatch("[0-9]{1,5}", regnum, re.ASCII) else number
            found.append((number, Register(attributes.get("name", "")[:40], int(bits) // 8, group)))
            number += 1
            if len(found) > MOST_REGISTERS:
                raise Unreached(f"the control guest describes more than {MOST_REGISTERS} registers")
    return [register for _, register in sorted(found, key=lambda pair: pair[0])]
