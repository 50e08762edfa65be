# SPDX-License-Identifier: BSD-2-Clause-Patent
"""SEV certificates, version 1 (SEV API, appendix C): 2084 bytes, little-endian, P-384; and AMD's own, which hold RSA keys.

    0x000  version 1, API major and minor, usage, algorithm
    0x010  the curve, 2: P-384; x and y with 72 bytes each; zeros to 0x414, where the signed bytes end
    0x414  two slots: usage of the signing key, algorithm, 512 bytes of signature
"""

from __future__ import annotations

import struct
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from pack.errors import PackError

SIZE = 2084
VERSION_1 = bytes([1, 0, 0, 0])  # what each begins with
SIGNED = 0x414


class Usage(IntEnum):
    ARK = 0x0000
    ASK = 0x0013
    NONE = 0x1000
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


ECDSA_SHA256 = 0x002
_ECDH_SHA256 = 0x003
_HASHES = {0x001: hashes.SHA256, 0x002: hashes.SHA256, 0x101: hashes.SHA384, 0x102: hashes.SHA384}  # of signatures
_CURVE_P384 = 2
_COORDINATE = 72
_PUBLIC_KEY = 1028
_SIGNATURE = 512
_SLOT = 8 + _SIGNATURE
_AMD_HEAD = struct.Struct("<I16s16sI16xII")  # version, key id, certifying key's id, usage, bits of exponent and modulus


def encode(public: ec.EllipticCurvePublicKey) -> bytes:
    """A certificate for a Diffie-Hellman key, as an owner gives it to LAUNCH_START: both signature slots empty."""
    numbers = public.public_numbers()
    key = struct.pack("<I", _CURVE_P384)
    key += numbers.x.to_bytes(_COORDINATE, "little") + numbers.y.to_bytes(_COORDINATE, "little")
    head = struct.pack("<IBBHII", 1, 0, 0, 0, Usage.PDH, _ECDH_SHA256)
    unsigned = struct.pack("<II", Usage.NONE, 0) + bytes(_SIGNATURE)
    return head + key.ljust(_PUBLIC_KEY, b"\0") + 2 * unsigned


def decode(data: bytes, usage: Usage) -> ec.EllipticCurvePublicKey:
    """The public key of a platform's certificate. Signatures are not checked; bytes after the certificate are ignored."""
    if len(data) < SIZE:
        raise PackError(f"this is not a SEV certificate: it has {len(data)} bytes, not {SIZE}")
    version, _, _, _, found, algorithm, curve = struct.unpack_from("<IBBHIII", data)
    if version != 1:
        raise PackError(f"this is not a SEV certificate of version 1, but {version}")
    if (found, algorithm) != (usage, _ECDH_SHA256 if usage == Usage.PDH else ECDSA_SHA256):
        raise PackError(f"this is not a {usage.name} certificate: usage {found:#x}, algorithm {algorithm:#x}")
    if curve != _CURVE_P384:
        raise PackError(f"the {usage.name}'s key is not on P-384 (curve {curve})")
    x, y = (int.from_bytes(data[at : at + _COORDINATE], "little") for at in (0x14, 0x14 + _COORDINATE))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    except ValueError:
        raise PackError(f"the {usage.name}'s key is not a point of P-384: the file is damaged") from None


def decode_pdh(data: bytes) -> ec.EllipticCurvePublicKey:
    """The first certificate of a chain file, too."""
    return decode(data, Usage.PDH)


def signatures(cert: bytes, signer: Usage) -> list[tuple[int, bytes]]:
    """(algorithm, signature) of the slots that a key of this usage signed; their order is nobody's promise."""
    slots = (cert[at : at + _SLOT] for at in (SIGNED, SIGNED + _SLOT))
    heads = [(*struct.unpack_from("<II", slot), slot[8:]) for slot in slots]
    return [(algorithm, signature) for usage, algorithm, signature in heads if usage == signer]


def check_ecdsa(key: ec.EllipticCurvePublicKey, signed: bytes, algorithm: int, signature: bytes) -> bool:
    """`signature`: r and s, 72 bytes each, little-endian."""
    if algorithm not in (0x002, 0x102):
        return False
    r, s = (int.from_bytes(signature[at : at + _COORDINATE], "little") for at in (0, _COORDINATE))
    try:
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[algorithm]()))
    except InvalidSignature:
        return False
    return True


def signed_by(cert: bytes, signer: bytes, usage: Usage) -> bool:
    """Whether the platform's key in `signer` signed the certificate."""
    key = decode(signer, usage)
    return any(check_ecdsa(key, cert[:SIGNED], *slot) for slot in signatures(cert, usage))


class AmdCertificate:
    """ASK or ARK: an RSA key, of 2048 bits on EPYC 7001 and of 4096 bits later."""

    def __init__(self, data: bytes) -> None:
        """Of the first certificate in the data, which may be followed by another."""
        if len(data) < _AMD_HEAD.size:
            raise PackError(f"this is not a certificate of AMD's: it has {len(data)} bytes")
        version, self.key_id, self.signer_id, usage, exponent_bits, bits = _AMD_HEAD.unpack_from(data)
        if version != 1 or usage not in (Usage.ARK, Usage.ASK) or exponent_bits != bits or bits not in (2048, 4096):
            raise PackError("this is not an ASK or ARK certificate of AMD's")
        size = bits // 8
        self.size = _AMD_HEAD.size + 3 * size
        if len(data) < self.size:
            raise PackError(f"the {Usage(usage).name} is truncated: {len(data)} of {self.size} bytes")
        self.usage = Usage(usage)
        self.raw = data[: self.size]
        self.signed = data[: self.size - size]
        self.signature = data[self.size - size : self.size]
        exponent, modulus = (
            int.from_bytes(data[at : at + size], "little") for at in (_AMD_HEAD.size, _AMD_HEAD.size + size)
        )
        try:
            self.key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        except ValueError:
            raise PackError(f"the {self.usage.name}'s key is no RSA key: the file is damaged") from None

    def verifies(self, signed: bytes, algorithm: int, signature: bytes) -> bool:
        """RSA-PSS with a salt as long as the hash; the signature is little-endian."""
        if algorithm not in (0x001, 0x101):
            return False
        digest = _HASHES[algorithm]()
        pss = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
        try:
            self.key.verify(signature[: self.key.key_size // 8][::-1], signed, pss, digest)
        except InvalidSignature:
            return False
        return True

    def signs(self, other: AmdCertificate) -> bool:
        """Of another of AMD's, which does not name the algorithm: it goes with the size of the key."""
        return self.verifies(other.signed, 0x001 if self.key.key_size == 2048 else 0x101, other.signature)

    def signs_cek(self, cek: bytes) -> bool:
        return any(self.verifies(cek[:SIGNED], *slot) for slot in signatures(cek, self.usage))
