# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A flat binary: loaded at 1 MiB, entered at its first byte in 64-bit mode.

    0x001000  the command line, NUL-terminated; its address is in RDI
    0x003000  GDT
    0x004000  page tables: all of memory (4 GiB at most) mapped to itself
    ........  a stack below 0x80000; RSP is aligned as after a call
    0x100000  the image; RSI has the number of bytes of memory
All of it is private (C-bit set) where the guest has SEV. Other memory is zero; under SEV it is zero when read
through C=0, and undefined through C=1.
"""

from __future__ import annotations

from .errors import PackError
from .layout import GuestMemory
from .machine import enter_long_mode
from .manifest import PAGE, Registers

CMDLINE_GPA = 0x1000
STACK_TOP = 0x80000
IMAGE_GPA = 0x100000


def build(memory: GuestMemory, image: bytes, cmdline: str, cbitpos: int | None) -> Registers:
    text = cmdline.encode("utf-8") + b"\0"
    if len(text) > PAGE:
        raise PackError(f"cmdline: {len(text) - 1} bytes are too long, {PAGE - 1} is the most for a flat image")
    if not image:
        raise PackError("image: the file is empty")
    memory.place(CMDLINE_GPA, text, "command line")
    memory.place(IMAGE_GPA, image, "image")
    return enter_long_mode(memory, cbitpos, rip=IMAGE_GPA, rsp=STACK_TOP - 8, rdi=CMDLINE_GPA, rsi=memory.size)
