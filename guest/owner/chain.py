# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A platform's chain of certificates, as `sevctl export` writes it: PDH, PEK, OCA, CEK; with --full then AMD's ASK and ARK.

    PDH <- PEK <- OCA, the platform's owner, which signs itself
               <- CEK, the chip <- ASK <- ARK, AMD's root, which signs itself
The SEV firmware exports its CEK unsigned: AMD's key server has the signed one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from pack.errors import PackError

from .certificate import SIZE, AmdCertificate, Usage, decode, signatures, signed_by

_PLATFORM = (Usage.PDH, Usage.PEK, Usage.OCA, Usage.CEK)
CEK_SERVER = "https://kdsintf.amd.com/cek/id/"
# SHA-256 of the signed bytes of AMD's roots, as AMD publishes them in ask_ark files and sevctl has them built in.
AMD_ROOTS = {
    "8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31": "EPYC 7001 (Naples)",
    "ae2456af6c6ad234badd6c75e58915be61568286766083853bf668e6e23977c3": "EPYC 7002 (Rome)",
    "263b13fd3170c6ffbb0b4f01f09848dc08a8dc1e9637d47e42cbe6c135e4af12": "EPYC 7003 (Milan)",
    "973df6265e1b40cf8883305c1f6a6cd254979446acb40bd396946b2f19e751e9": "EPYC 9004 (Genoa)",
    "89327696f8082b20f5a588565adc26d478e1c6d56153c1de656e63396b8f8e20": "EPYC 9005 (Turin)",
}


@dataclass(frozen=True)
class Chain:
    pdh: bytes
    pek: bytes
    oca: bytes
    cek: bytes
    ask: AmdCertificate | None = None
    ark: AmdCertificate | None = None

    def bytes(self) -> bytes:
        """The file; with ASK and ARK as `sevctl export --full` writes it."""
        amd = self.ask.raw + self.ark.raw if self.ask and self.ark else b""
        return self.pdh + self.pek + self.oca + self.cek + amd


def read_amd(data: bytes) -> tuple[AmdCertificate, AmdCertificate]:
    """ASK and ARK, as AMD has them in one file for each family of servers."""
    ask = AmdCertificate(data)
    ark = AmdCertificate(data[ask.size :])
    if (ask.usage, ark.usage) != (Usage.ASK, Usage.ARK):
        raise PackError(f"ASK and ARK are expected, not {ask.usage.name} and {ark.usage.name}")
    if len(data) != ask.size + ark.size:
        raise PackError(f"{len(data) - ask.size - ark.size} bytes follow the ARK")
    return ask, ark


def read(data: bytes) -> Chain:
    if len(data) < len(_PLATFORM) * SIZE:
        raise PackError(f"this is not a chain of PDH, PEK, OCA and CEK: it has {len(data)} bytes, not {4 * SIZE}")
    parts = [data[at : at + SIZE] for at in range(0, 4 * SIZE, SIZE)]
    for part, usage in zip(parts, _PLATFORM, strict=True):
        decode(part, usage)
    rest = data[4 * SIZE :]
    return Chain(*parts, *(read_amd(rest) if rest else ()))


def with_cek(chain: Chain, cek: bytes) -> Chain:
    """With the CEK that AMD signed."""
    if len(cek) != SIZE:
        raise PackError(f"a CEK certificate has {SIZE} bytes, not {len(cek)}")
    if decode(cek, Usage.CEK).public_numbers() != decode(chain.cek, Usage.CEK).public_numbers():
        raise PackError("this CEK is another chip's: it holds another key than the chain's")
    return replace(chain, cek=cek)


def root_name(ark: AmdCertificate) -> str | None:
    """The family of servers that one of AMD's roots is for; None: it is no root of AMD's that this tool knows."""
    return AMD_ROOTS.get(hashlib.sha256(ark.signed).hexdigest())


def check(chain: Chain, chip: bytes | None = None) -> tuple[AmdCertificate, AmdCertificate]:
    """ASK and ARK of a chain whose every link holds, up to an ARK that signs itself: whose that is remains to be judged."""
    if not signed_by(chain.pdh, chain.pek, Usage.PEK):
        raise PackError("the PDH is not signed by the PEK")
    if not signed_by(chain.oca, chain.oca, Usage.OCA):
        raise PackError("the OCA is not signed by itself")
    if not signed_by(chain.pek, chain.oca, Usage.OCA):
        raise PackError("the PEK is not signed by the OCA")
    if not signed_by(chain.pek, chain.cek, Usage.CEK):
        raise PackError("the PEK is not signed by the CEK")
    if not signatures(chain.cek, Usage.ASK):
        where = CEK_SERVER + (chip.hex() if chip else "CHIPID")
        raise PackError(
            f"the CEK has no signature of AMD's yet: get the signed one from {where}, and give it with --cek"
        )
    if chain.ask is None or chain.ark is None:
        raise PackError("it ends at the CEK: give AMD's ASK and ARK for this family of servers (ask_ark) with --ca")
    if not chain.ask.signs_cek(chain.cek):
        raise PackError("the CEK is not signed by this ASK: is it of another family of servers?")
    if not chain.ark.signs(chain.ask):
        raise PackError("the ASK is not signed by the ARK")
    if not chain.ark.signs(chain.ark):
        raise PackError("the ARK is not signed by itself")
    return chain.ask, chain.ark


def read_root(data: bytes) -> AmdCertificate:
    """An ARK, alone or behind its ASK."""
    first = AmdCertificate(data)
    return first if first.usage == Usage.ARK else read_amd(data)[1]


def trusted(chain: Chain, root: AmdCertificate | None, where: object, chip: bytes | None = None) -> str:
    """That the chain holds up to this root, or to one of AMD's; returns which, in words. `where`: the root came from."""
    _, ark = check(chain, chip)
    if root is not None:
        if root.signed != ark.signed:
            raise PackError(f"its root is not the one in {where}")
        return f"the root in {where}"
    name = root_name(ark)
    if name is None:
        raise PackError(
            f"its root is none of AMD's for {', '.join(AMD_ROOTS.values())}: --root names another that you trust"
        )
    return f"AMD's root for {name}"
