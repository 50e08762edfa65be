# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What LAUNCH_SECRET takes: a packet of header and ciphertext, and what people put into it.

    header:  FLAGS(4) = 0 || IV(16) || HMAC(TIK, 01 || FLAGS || IV || LE32(size) || LE32(size) || ciphertext || MEASURE)
    content: AES-128-CTR(TEK, IV); a multiple of 16 bytes
SEV API 6.6, from API 0.17 on. MEASURE ties the packet to one launch, the MAC to one owner.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pack.errors import PackError
from pack.manifest import MAX_SECRET, SECRET_UNIT

_TABLE = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")  # OVMF's SecretLaunch table, as QEMU and sevctl make it
_CONTEXT = 0x01


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % SECRET_UNIT)


def _entry(guid: uuid.UUID, data: bytes) -> bytes:
    return guid.bytes_le + struct.pack("<I", 20 + len(data)) + data


def table(secrets: list[tuple[uuid.UUID, bytes]]) -> bytes:
    """The secrets by their GUIDs; padding is not counted in any length."""
    return _entry(_TABLE, b"".join(_entry(*secret) for secret in secrets))


def archive(contents: list[tuple[str, bytes]]) -> bytes:
    """A cpio archive ("newc", Linux Documentation/driver-api/early-userspace/buffer-format.rst) of files that their owner,
    root, may read. At the end of an initrd it makes files in the guest's root."""
    out = b""
    for number, (name, data, mode) in enumerate([(*c, 0o100400) for c in contents] + [("TRAILER!!!", b"", 0)], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def seal(tek: bytes, tik: bytes, measure: bytes, content: bytes, iv: bytes | None = None) -> tuple[bytes, bytes]:
    """(header, ciphertext) for a launch that gave this MEASURE. `iv` is random, and never used twice, but in tests."""
    content = padded(content)
    if not content:
        raise PackError("the secret is empty")
    if len(content) > MAX_SECRET:
        raise PackError(f"the secret has {len(content)} bytes; one LAUNCH_SECRET takes {MAX_SECRET}")
    iv = iv or os.urandom(16)
    encryptor = Cipher(algorithms.AES(tek), modes.CTR(iv)).encryptor()
    data = encryptor.update(content) + encryptor.finalize()
    head = bytes(4) + iv
    message = bytes([_CONTEXT]) + head + struct.pack("<II", len(data), len(data)) + data + measure
    return head + hmac.new(tik, message, hashlib.sha256).digest(), data
