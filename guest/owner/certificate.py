# SPDX-License-Identifier: BSD-2-Clause-Patent
"""SEV certificates, version 1 (SEV API, appendix C): 2084 bytes, little-endian, P-384."""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.asymmetric import ec

from pack.errors import PackError

SIZE = 2084

_USAGE_INVALID = 0x1000
_USAGE_PDH = 0x1003
_ALGORITHM_ECDH_SHA256 = 3
_CURVE_P384 = 2
_COORDINATE = 72
_PUBLIC_KEY = 1028
_SIGNATURE = 512


def encode(public: ec.EllipticCurvePublicKey) -> bytes:
    """A certificate for a Diffie-Hellman key, as an owner gives it to LAUNCH_START: both signature slots empty."""
    numbers = public.public_numbers()
    key = struct.pack("<I", _CURVE_P384)
    key += numbers.x.to_bytes(_COORDINATE, "little") + numbers.y.to_bytes(_COORDINATE, "little")
    head = struct.pack("<IBBHII", 1, 0, 0, 0, _USAGE_PDH, _ALGORITHM_ECDH_SHA256)
    unsigned = struct.pack("<II", _USAGE_INVALID, 0) + bytes(_SIGNATURE)
    return head + key.ljust(_PUBLIC_KEY, b"\0") + 2 * unsigned


def decode_pdh(data: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a platform's Diffie-Hellman certificate. Signatures are not checked.

    Bytes after the first certificate are ignored, so that a chain file is accepted.
    """
    if len(data) < SIZE:
        raise PackError(f"this is not a SEV certificate: it has {len(data)} bytes, not {SIZE}")
    version, _, _, _, usage, algorithm, curve = struct.unpack_from("<IBBHIII", data)
    if version != 1:
        raise PackError(f"this is not a SEV certificate of version 1, but {version}")
    if (usage, algorithm) != (_USAGE_PDH, _ALGORITHM_ECDH_SHA256):
        raise PackError(f"this is not a PDH certificate: usage {usage:#x}, algorithm {algorithm:#x}")
    if curve != _CURVE_P384:
        raise PackError(f"the PDH's key is not on P-384 (curve {curve})")
    x, y = (int.from_bytes(data[at : at + _COORDINATE], "little") for at in (0x14, 0x14 + _COORDINATE))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    except ValueError:
        raise PackError("the PDH's key is not a point of P-384: the file is damaged") from None
