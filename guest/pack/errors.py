# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Errors that the user can correct."""


class PackError(Exception):
    """An error that the user can correct; the text says where and what."""


def printable(text: str) -> str:
    """With control characters escaped, which could affect a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
