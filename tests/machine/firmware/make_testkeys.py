#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Makes testkeys.h: the RSA-4096 keys of the machine's own ARK and ASK.

They are TEST KEYS: their seed stands below, so anybody can make them again, and
nobody must trust them. The same seed gives the same file; it is in the tree because
a search for 2048-bit primes takes a while.
"""

import argparse
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

SEED = "Sevisor test root, not a secret"
PRIME_BITS = 2048
EXPONENT = 0x10001
ROUNDS = 40
LIMIT = 20000  # trial division


def small_primes(limit: int) -> list[int]:
    sieve = bytearray([1]) * limit
    for i in range(2, int(limit**0.5) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, limit, i)))
    return [i for i in range(3, limit) if sieve[i]]


SMALL = small_primes(LIMIT)


def probably_prime(n: int, bases: random.Random) -> bool:
    """Miller-Rabin."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(ROUNDS):
        x = pow(bases.randrange(2, n - 1), odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def candidates(name: str) -> Iterator[int]:
    for counter in range(1 << 32):
        stream = hashlib.shake_256(f"{SEED}/{name}/{counter}".encode()).digest(PRIME_BITS // 8)
        # Two top bits: the product of two such primes has all 4096 bits.
        yield int.from_bytes(stream, "big") | 3 << (PRIME_BITS - 2) | 1


def prime(name: str) -> int:
    bases = random.Random(name)
    return next(
        n for n in candidates(name) if all(n % p for p in SMALL) and (n - 1) % EXPONENT and probably_prime(n, bases)
    )


def array(name: str, number: int) -> str:
    data = number.to_bytes(PRIME_BITS // 8, "big")
    lines = [", ".join(f"0x{b:02x}" for b in data[i : i + 16]) for i in range(0, len(data), 16)]
    body = ",\n    ".join(lines)
    return f"static const uint8_t {name}[{PRIME_BITS // 8}] = {{\n    {body},\n}};\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the header to write")
    output: Path = parser.parse_args().output
    text = (
        "/* SPDX-License-Identifier: BSD-2-Clause-Patent */\n"
        "/* TEST KEYS, made by make_testkeys.py from a public seed: the primes of the machine's\n"
        " * own ARK and ASK. Nothing real must ever trust them. Numbers are big-endian. */\n"
        "#ifndef SEVFW_TESTKEYS_H\n#define SEVFW_TESTKEYS_H\n\n#include <stdint.h>\n\n"
    )
    for name in ("ark_p", "ark_q", "ask_p", "ask_q"):
        text += array(name, prime(name)) + "\n"
    output.write_text(text + "#endif\n", encoding="utf-8")


if __name__ == "__main__":
    main()
