#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The texts that the sample guests write into their memory, for tests that search a dump of it.

Usage: markers.py [WORD]   prints hello's private and shared marker and linux's private one for `marker=WORD`
"""

from __future__ import annotations

import sys


def fnv1a_bytes(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def fnv1a(word: str) -> int:
    return fnv1a_bytes(word.encode())


def private_marker(word: str = "hello") -> bytes:
    return f"SEVISOR-PRIVATE-{fnv1a(word):016X}".encode()


def shared_marker(word: str = "hello") -> bytes:
    return f"SEVISOR-SHARED-{fnv1a(word):016X}".encode()


def linux_marker(word: str = "linux") -> bytes:
    return f"SEVISOR-LINUX-PRIVATE-{fnv1a(word):016X}".encode()


if __name__ == "__main__":
    words = sys.argv[1:2]
    for marker in (private_marker, shared_marker, linux_marker):
        print(marker(*words).decode())
