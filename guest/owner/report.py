# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The report of ATTESTATION (SEV API, 6.8): 208 bytes about a running guest, signed by the platform's PEK.

    MNONCE(16) || launch digest(32) || policy(4) || usage(4), algorithm(4), zeros(4) || r(72) || s(72)
The first 52 bytes are signed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pack.errors import PackError

from . import certificate
from .certificate import Usage

SIZE = 208
_SIGNED = 52


@dataclass(frozen=True)
class Report:
    nonce: bytes
    digest: bytes
    policy: int


def read(data: bytes, pek: bytes) -> Report:
    """What the report says, whose signature by this PEK holds."""
    if len(data) != SIZE:
        raise PackError(f"this is not an attestation report: it has {len(data)} bytes, not {SIZE}")
    nonce, digest, policy, usage, algorithm = struct.unpack_from("<16s32sIII", data)
    if usage != Usage.PEK:
        raise PackError(f"this is not an attestation report: a key of usage {usage:#x} signed it, not a PEK")
    key = certificate.decode(pek, Usage.PEK)
    if not certificate.check_ecdsa(key, data[:_SIGNED], algorithm, data[64:]):
        raise PackError("the report is not signed by this platform's PEK")
    return Report(nonce, digest, policy)
