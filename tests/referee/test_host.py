# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's Linux judges the SEV machine: an independent reading of AMD's documents, in two versions.

Each kernel boots, unmodified, with its own modules, and runs devsev and kvmabuse. What
the serial line showed is checked here, the certificates by python3-cryptography.
"""

from __future__ import annotations

import re
from pathlib import Path

import linux
import pytest
import test_chain as chain

pytestmark = pytest.mark.referee


class Host(linux.Host):
    """A host that ran devsev."""

    def blob(self, name: str) -> bytes:
        found = re.search(rf"^devsev: blob {re.escape(name)} ([0-9a-f]*)$", self.text, re.MULTILINE)
        assert found, f"no blob {name}"
        return bytes.fromhex(found.group(1))

    def certs(self, suffix: str = "") -> dict[str, bytes]:
        exported = self.blob(f"chain{suffix}")
        names = ("pek", "oca", "cek")
        return {"pdh": self.blob(f"pdh{suffix}")} | {n: exported[i * 2084 : (i + 1) * 2084] for i, n in enumerate(names)}

    def calls(self) -> dict[str, str]:
        """The first answer of each devsev call."""
        found: dict[str, str] = {}
        for name, answer in re.findall(r"^devsev: (\S+) (ret=.*)$", self.text, re.MULTILINE):
            found.setdefault(name, answer)
        return found


@pytest.fixture(scope="module")
def host(kernel: Path, programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Host:
    booted = linux.boot(kernel, programs, "devsev\nkvmabuse\n", tmp_path_factory.mktemp("host"))
    return Host(**vars(booted))


# -- 1. Linux as a SEV host -----------------------------------------------------------------


def test_linux_uses_memory_encryption_for_itself(host: Host) -> None:
    assert "Memory Encryption Features active: AMD SME" in host.text


def test_ccp_binds_and_initialises_the_firmware(host: Host) -> None:
    assert re.search(r"ccp [0-9a-f:.]+: SEV API:1\.55 build:21$", host.text, re.MULTILINE)
    complaints = re.findall(r"^referee: log: .*ccp.*(?:error|timed out|failed).*$", host.text, re.MULTILINE)
    assert [line for line in complaints if "firmware: failed to load" not in line] == []  # no update files here


def test_kvm_finds_the_asid_range(host: Host) -> None:
    assert "SEV enabled (ASIDs 1 - 15)" in host.text


# -- 2. /dev/sev by hand ----------------------------------------------------------------------


def test_platform_ioctls_answer_as_documented(host: Host) -> None:
    calls = host.calls()
    assert calls["PLATFORM_STATUS"].startswith("ret=0 fw=0x0 api=1.55 build=21 state=1")
    assert calls["GET_ID2(0)"] == "ret=5 fw=0x4 length=64"
    assert calls["PDH_CERT_EXPORT(0)"] == "ret=5 fw=0x4 pdh=2084 chain=6252"
    assert calls["PEK_CSR(0)"] == "ret=5 fw=0x4 length=2084"
    for name in ("GET_ID2", "PDH_CERT_EXPORT", "PDH_GEN", "PEK_GEN", "PEK_CSR", "FACTORY_RESET"):
        assert calls[name].startswith("ret=0 fw=0x0"), name
    assert calls["UNKNOWN(99)"].startswith("ret=22")


@pytest.mark.parametrize("when", ["", "-after-pdh-gen", "-after-pek-gen", "-after-reset"])
def test_exported_chain_verifies(host: Host, when: str) -> None:
    certs = host.certs(when)
    for name, usage, algo in (
        ("cek", chain.CEK, chain.ECDSA_SHA256), ("oca", chain.OCA, chain.ECDSA_SHA256),
        ("pek", chain.PEK, chain.ECDSA_SHA256), ("pdh", chain.PDH, chain.ECDH_SHA256),
    ):  # fmt: skip
        chain.check_form(certs[name], usage, algo)
    chain.check_signed(certs["oca"], certs["oca"], chain.OCA)
    chain.check_signed(certs["pek"], certs["oca"], chain.OCA)
    chain.check_signed(certs["pek"], certs["cek"], chain.CEK)
    chain.check_signed(certs["pdh"], certs["pek"], chain.PEK)


def test_generations_change_what_they_should(host: Host) -> None:
    first, pdh_gen, pek_gen, reset = (host.certs(w) for w in ("", "-after-pdh-gen", "-after-pek-gen", "-after-reset"))
    assert pdh_gen["pdh"] != first["pdh"] and pdh_gen["pek"] == first["pek"]
    assert len({c["pek"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["oca"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["cek"] for c in (first, pdh_gen, pek_gen, reset)}) == 1
    csr, pek = host.blob("csr"), pek_gen["pek"]
    assert csr[: chain.SIGNED] == pek[: chain.SIGNED]
    assert csr[chain.SIGNED :] == 2 * (b"\x00\x10\x00\x00" + bytes(0x204))  # both slots empty


# -- 5. hostile use -----------------------------------------------------------------------------


def test_commands_out_of_order_get_the_documented_statuses(host: Host) -> None:
    found = re.search(r"^kvmabuse: (\d+) calls, (\d+) misses$", host.text, re.MULTILINE)
    assert found, "kvmabuse did not come to its end"
    misses = re.findall(r"^kvmabuse: MISS .*$", host.text, re.MULTILINE)
    assert misses == [] and int(found.group(1)) >= 25 and found.group(2) == "0"


def test_linux_comes_to_its_end(host: Host) -> None:
    assert "referee: done" in host.text
