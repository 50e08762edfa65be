# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Platforms with certificates that hold up to a root of their own (SEV API, appendix C), for tests of what is sent to them."""

from __future__ import annotations

import functools
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from owner.certificate import ECDSA_SHA256, SIGNED, Usage
from owner.chain import Chain, read

ECDH_SHA256, RSA_SHA256 = 0x3, 0x1
BITS = 2048  # as on EPYC 7001


def certificate(key: ec.EllipticCurvePrivateKey, usage: Usage, *signers: tuple[Usage, object]) -> bytes:
    point = key.public_key().public_numbers()
    data = struct.pack("<IBBHIII", 1, 0, 0, 0, usage, ECDH_SHA256 if usage == Usage.PDH else ECDSA_SHA256, 2)
    data = (data + point.x.to_bytes(72, "little") + point.y.to_bytes(72, "little")).ljust(SIGNED, b"\0")
    slots = b""
    for name, signer in signers:
        if isinstance(signer, rsa.RSAPrivateKey):
            slots += struct.pack("<II512s", name, RSA_SHA256, pss(signer, data))
        else:
            r, s = utils.decode_dss_signature(signer.sign(data, ec.ECDSA(hashes.SHA256())))
            slots += struct.pack("<II512s", name, ECDSA_SHA256, r.to_bytes(72, "little") + s.to_bytes(72, "little"))
    return data + slots + struct.pack("<II512x", Usage.NONE, 0) * (2 - len(signers))


def pss(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256())[::-1]


@functools.cache
def root() -> tuple[rsa.RSAPrivateKey, bytes, bytes]:
    """The ASK's key, ASK, ARK."""
    ask, ark = (rsa.generate_private_key(0x10001, BITS) for _ in range(2))

    def amd(key: rsa.RSAPrivateKey, usage: Usage) -> bytes:
        data = struct.pack("<I16s16sI16xII", 1, b"subject", b"issuer", usage, BITS, BITS)
        data += (0x10001).to_bytes(BITS // 8, "little") + key.public_key().public_numbers().n.to_bytes(
            BITS // 8, "little"
        )
        return data + pss(ark, data)

    return ask, amd(ask, Usage.ASK), amd(ark, Usage.ARK)


class Platform:
    """A chip, its owner, its keys."""

    def __init__(self, owner: ec.EllipticCurvePrivateKey | None = None) -> None:
        ask, self.ask, self.ark = root()
        self.owner = owner or ec.generate_private_key(ec.SECP384R1())
        self._pek, cek = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
        self.signed_cek = certificate(cek, Usage.CEK, (Usage.ASK, ask))
        self.cek = certificate(cek, Usage.CEK)  # as the SEV firmware exports it
        self.oca = certificate(self.owner, Usage.OCA, (Usage.OCA, self.owner))
        self.pek = certificate(self._pek, Usage.PEK, (Usage.OCA, self.owner), (Usage.CEK, cek))
        self.pdh_gen()

    def pdh_gen(self) -> None:
        self.pdh = certificate(ec.generate_private_key(ec.SECP384R1()), Usage.PDH, (Usage.PEK, self._pek))

    @property
    def exported(self) -> bytes:
        return self.pdh + self.pek + self.oca + self.cek

    @property
    def full(self) -> Chain:
        return read(self.pdh + self.pek + self.oca + self.signed_cek + self.ask + self.ark)
