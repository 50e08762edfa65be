# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Errors that are meant for the person who packs."""


class PackError(Exception):
    """Something that a person can correct; the text says where and what."""


def printable(text: str) -> str:
    """With escapes for what would do something to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
