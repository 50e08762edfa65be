#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Makes a firmware image that the machine's Secure Processor accepts by DOWNLOAD_FIRMWARE (image.c has the format).

Nothing real accepts it: the key that signs it follows from a text that stands below.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

SEED = b"Sevisor test images, not a secret"
PARTS = ("naples", "rome", "milan", "genoa", "turin")  # the machine's `part`, in ../qemu/sev_psp.c's order
FIELD = 72  # bytes of a little-endian number in AMD's certificates


def key(part: int) -> ec.EllipticCurvePrivateKey:
    """NIST SP 800-108 in counter mode with little-endian numbers, as keys.c has it: 47 bytes, big-endian."""
    out = b""
    for block in (1, 2):
        message = struct.pack("<I", block) + b"sevfw-image\0" + struct.pack("<BI", part, 8 * 47)
        out += hmac.new(SEED, message, hashlib.sha256).digest()
    return ec.derive_private_key(int.from_bytes(out[:47], "big"), ec.SECP384R1())


def make_image(version: tuple[int, int, int], part: str = "milan", body: bytes = bytes(range(256)) * 128) -> bytes:
    """`version`: API major, API minor, build."""
    number = PARTS.index(part)
    image = b"sevfwimg" + bytes([number, 0, 0, 0, *version, 0]) + body
    numbers = utils.decode_dss_signature(key(number).sign(image, ec.ECDSA(hashes.SHA256())))
    return image + b"".join(value.to_bytes(FIELD, "little") for value in numbers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", metavar="MAJOR.MINOR.BUILD", help="what PLATFORM_STATUS says of it, in decimal")
    parser.add_argument("output", type=Path, metavar="FILE")
    parser.add_argument("--part", choices=PARTS, default="milan", help="as the machine's property (%(default)s)")
    args = parser.parse_args()
    major, minor, build = (int(number) for number in args.version.split("."))
    args.output.write_bytes(make_image((major, minor, build), args.part))
    return 0


if __name__ == "__main__":
    sys.exit(main())
