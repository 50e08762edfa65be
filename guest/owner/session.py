# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The session that an owner makes for one guest on one platform (SEV API, 6.2 LAUNCH_START).

Keys and blob:
    Z   = ECDH(owner's key, PDH), x-coordinate, big-endian
    MS  = KDF(Z, "sev-master-secret", NONCE);  KEK = KDF(MS, "sev-kek");  KIK = KDF(MS, "sev-kik")
    NONCE || AES-128-CTR(KEK, IV, TEK || TIK) || IV || HMAC(KIK, the 32 encrypted bytes) || HMAC(TIK, LE32(policy))
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from . import certificate


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def kdf(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """NIST SP 800-108 in counter mode, but with little-endian counter and length."""
    out, block = b"", 0
    while len(out) < size:
        block += 1
        out += _hmac(key, struct.pack("<I", block) + label + b"\0" + context + struct.pack("<I", 8 * size))
    return out[:size]


def _random16() -> bytes:
    return os.urandom(16)


@dataclass
class Secrets:
    """The random values of a session."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    tek: bytes = field(default_factory=_random16)
    tik: bytes = field(default_factory=_random16)
    nonce: bytes = field(default_factory=_random16)
    wrap_iv: bytes = field(default_factory=_random16)


def make(secrets: Secrets, pdh: ec.EllipticCurvePublicKey, policy: int) -> tuple[bytes, bytes]:
    """(certificate of the owner's key, session blob of 128 bytes) for LAUNCH_START."""
    z = secrets.key.exchange(ec.ECDH(), pdh)
    master = kdf(z, b"sev-master-secret", secrets.nonce, 16)
    kek, kik = kdf(master, b"sev-kek", b"", 16), kdf(master, b"sev-kik", b"", 16)
    encryptor = Cipher(algorithms.AES(kek), modes.CTR(secrets.wrap_iv)).encryptor()
    wrapped = encryptor.update(secrets.tek + secrets.tik) + encryptor.finalize()
    policy_mac = _hmac(secrets.tik, struct.pack("<I", policy))
    blob = secrets.nonce + wrapped + secrets.wrap_iv + _hmac(kik, wrapped) + policy_mac
    return certificate.encode(secrets.key.public_key()), blob
