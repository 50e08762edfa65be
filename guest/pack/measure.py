# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Launch digest and measurement of a launch program, as the AMD Secure Processor computes them.

SEV (API 0.17 and later):
    LD      = SHA-256 of all measured bytes, in the order of the launch
    MEASURE = HMAC-SHA-256(TIK, 0x04 || api_major || api_minor || build || LE32(policy) || LD || MNONCE)
Older SEV firmware leaves out the four leading bytes. Guest-physical addresses are not part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable

from .manifest import PAGE, Kind, Step

MEASURE_CONTEXT = 0x04
_ZEROS = bytes(256 * PAGE)


def is_measured(step: Step) -> bool:
    return step.kind in (Kind.DATA, Kind.ZERO)


def launch_digest(steps: Iterable[Step]) -> bytes:
    """LD: the SHA-256 that LAUNCH_MEASURE signs. `steps` in the manifest's order."""
    digest = hashlib.sha256()
    for step in steps:
        if step.kind == Kind.DATA:
            digest.update(step.data)
        elif step.kind == Kind.ZERO:
            for done in range(0, step.size, len(_ZEROS)):
                digest.update(_ZEROS[: step.size - done])
    return digest.digest()


def measure(tik: bytes, api: tuple[int, int], build: int, policy: int, digest: bytes, nonce: bytes) -> bytes:
    """MEASURE, 32 bytes. `api` is (major, minor) of the platform's SEV firmware, `nonce` the MNONCE that it returned."""
    lengths = {"TIK": (tik, 16), "launch digest": (digest, 32), "nonce": (nonce, 16)}
    for name, (value, expected) in lengths.items():
        if len(value) != expected:
            raise ValueError(f"the {name} has {len(value)} bytes instead of {expected}")
    message = struct.pack("<I", policy) + digest + nonce
    if api >= (0, 17):
        message = bytes([MEASURE_CONTEXT, api[0], api[1], build]) + message
    return hmac.new(tik, message, hashlib.sha256).digest()
