# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's Linux judges the SEV machine: an independent reading of AMD's documents, in two versions.

Each kernel boots, unmodified, with its own modules, and runs devsev, kvmabuse and kvmmove. What
the serial line showed is checked here, the certificates by python3-cryptography.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import linux
import pytest
import test_chain as chain
from cryptography.hazmat.primitives.asymmetric import ec
from owner_side import CHIP_ID

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
        return {"pdh": self.blob(f"pdh{suffix}")} | {
            n: exported[i * 2084 : (i + 1) * 2084] for i, n in enumerate(names)
        }

    def calls(self) -> dict[str, str]:
        """The first answer of each devsev call."""
        found: dict[str, str] = {}
        for name, answer in re.findall(r"^devsev: (\S+) (ret=.*)$", self.text, re.MULTILINE):
            found.setdefault(name, answer)
        return found


@dataclass
class Owner:
    """An external owner: has had the platform's PEK in his hands, and signed it."""

    nv: Path  # the platform's persistent data, with that PEK
    pek: Path
    oca: Path


@pytest.fixture(scope="module")
def owner(sevfw_tool: str, tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """Signs beforehand: the platform's keys are made here by the firmware model, for the machine's chip."""
    folder = tmp_path_factory.mktemp("owner")
    made = Owner(*(folder / name for name in ("nv", "pek.cert", "oca.cert")))
    key = ec.generate_private_key(ec.SECP384R1())
    firmware = chain.Firmware(sevfw_tool, "--nv", str(made.nv), "--chip-id", CHIP_ID)
    firmware.command("INIT", bytes(0x14))
    firmware.command("PEK_CSR", struct.pack("<QI", chain.AT_A, chain.CERT))
    made.pek.write_bytes(chain.sign_cert(firmware.read(chain.AT_A, chain.CERT), key, chain.OCA))
    made.oca.write_bytes(chain.sign_cert(chain.make_cert(key, chain.OCA, chain.ECDSA_SHA256, (1, 55)), key, chain.OCA))
    firmware.close()
    return made


@pytest.fixture(scope="module")
def key_server(sevfw_tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What whoever sends a guest to the machine has got from AMD, by its names in the initramfs."""
    folder = tmp_path_factory.mktemp("kds")
    server = chain.Firmware(sevfw_tool, "--chip-id", CHIP_ID)
    told = {name: bytes.fromhex(value) for name, value in server.ask("kds").items()}
    server.close()
    (folder / "cek.cert").write_bytes(told["cek"])
    (folder / "amd.certs").write_bytes(told["ask"] + told["ark"])
    return {f"kds/{path.name}": path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def host(
    kernel: Path, programs: dict[str, Path], owner: Owner, key_server: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Host:  # fmt: skip
    files = programs | key_server | {"owner/pek.cert": owner.pek, "owner/oca.cert": owner.oca}
    errand = "devsev\nkvmabuse\nkvmmove /kds/cek.cert /kds/amd.certs\n"
    return Host(**vars(linux.boot(kernel, files, errand, tmp_path_factory.mktemp("host"), nv=owner.nv)))


@pytest.fixture(scope="module")
def kds(host: Host, sevfw_tool: str) -> dict[str, str]:
    """What AMD's key server tells of the chip that Linux named: ARK, ASK, and the CEK that the ASK signed."""
    server = chain.Firmware(sevfw_tool, "--chip-id", host.blob("id").rstrip(b"\0").decode())
    told = server.ask("kds")
    server.close()
    return told


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
    for name in ("GET_ID", "GET_ID2", "PDH_CERT_EXPORT", "PDH_GEN", "PEK_GEN", "PEK_CSR", "FACTORY_RESET"):
        assert calls[name].startswith("ret=0 fw=0x0"), name
    assert calls["UNKNOWN(99)"].startswith("ret=22")


@pytest.mark.parametrize("when", ["", "-after-import", "-after-pdh-gen", "-after-pek-gen", "-after-reset"])
def test_exported_chain_verifies_from_the_ark_to_the_pdh(host: Host, kds: dict[str, str], when: str) -> None:
    chain.check_chain(host.certs(when), kds)


def test_chip_is_the_one_that_its_cek_is_of(host: Host, kds: dict[str, str], sevfw_tool: str) -> None:
    assert host.blob("id") == host.blob("id-old") == CHIP_ID.encode().ljust(64, b"\0")
    server = chain.Firmware(sevfw_tool, "--chip-id", "another chip")
    with pytest.raises(AssertionError):
        chain.check_chain(host.certs(), server.ask("kds"))
    server.close()


def test_owner_takes_the_platform_over(host: Host, owner: Owner) -> None:
    before, after = host.certs(), host.certs("-after-import")
    assert after["oca"] == owner.oca.read_bytes() != before["oca"]
    assert chain.public_key(after["pek"]).public_numbers() == chain.public_key(before["pek"]).public_numbers()
    assert after["pdh"] != before["pdh"] and after["cek"] == before["cek"]
    for call, owned in (("PEK_CERT_IMPORT", 1), ("FACTORY_RESET", 0)):
        told = re.search(
            rf"^devsev: {call} ret=0 .*\ndevsev: PLATFORM_STATUS .* flags=0x(\d+) ", host.text, re.MULTILINE
        )
        assert told and int(told.group(1), 16) & 1 == owned, call


def test_owners_that_are_none_are_refused(host: Host) -> None:
    calls = host.calls()
    for words, status in (
        ("short", 0x4), ("long", 0x4), ("zeros", 0x6), ("swapped", 0x6), ("PDH", 0x6),
        ("unrelated", 0xA), ("again", 0x5),
    ):  # fmt: skip
        assert calls[f"PEK_CERT_IMPORT({words})"] == f"ret=5 fw={status:#x}", words
    for words in ("nowhere", "huge"):  # Linux itself
        assert calls[f"PEK_CERT_IMPORT({words})"].startswith("ret=22 "), words
    assert calls["PEK_CERT_IMPORT"] == "ret=0 fw=0x0"


def test_read_only_user_changes_nothing(host: Host) -> None:
    calls = host.calls()
    for name in ("FACTORY_RESET", "PEK_GEN", "PDH_GEN", "PEK_CSR", "PEK_CERT_IMPORT"):
        assert calls[f"READONLY({name})"].startswith("ret=1 "), name
    assert calls["READONLY(PLATFORM_STATUS)"] == "ret=0 fw=0x0"
    assert host.certs("-read-only") == host.certs()


def test_generations_change_what_they_should(host: Host) -> None:
    names = ("-after-import", "-after-pdh-gen", "-after-pek-gen", "-after-reset")
    first, pdh_gen, pek_gen, reset = (host.certs(name) for name in names)
    assert pdh_gen["pdh"] != first["pdh"] and pdh_gen["pek"] == first["pek"]
    assert len({c["pek"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["oca"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["cek"] for c in (first, pdh_gen, pek_gen, reset)}) == 1
    csr, pek = host.blob("csr"), pek_gen["pek"]
    assert csr[: chain.SIGNED] == pek[: chain.SIGNED]
    assert csr[chain.SIGNED :] == 2 * (b"\x00\x10\x00\x00" + bytes(0x204))  # both slots empty


# -- 3. a guest that moves --------------------------------------------------------------------


def test_kvm_sends_a_guest_to_kvm_where_it_goes_on_counting(host: Host) -> None:
    said = re.findall(r"^kvmmove: (.*)$", host.text, re.MULTILINE)
    chain_refused = "SEND_START: firmware 0x6 policy 0x0 session 128"
    started = ["SEND_START: firmware 0x0 policy 0x20 session 128"]
    assert said == [
        *(f"source {n} {n}" for n in (1, 2, 3)),
        "query of SEND_START: firmware 0x4 session 128",
        chain_refused,
        *started,
        "source policy 0x20 state 4",
        "query of SEND_UPDATE_DATA: firmware 0x4 header 52 packet 4096",
        "source policy 0x20 state 3",
        *(f"source {n} {n}" for n in (4, 5)),
        *started,
        "RECEIVE_START with another policy: firmware 0xb",
        "target policy 0x20 state 5",
        "packet of the cancelled session: firmware 0xb",
        *["changed packet: firmware 0xb"] * 4,
        "source policy 0x20 state 6",
        "target policy 0x20 state 3",
        *(f"target {n} {n}" for n in (6, 7, 8)),
        "done",
    ]


def test_memory_of_the_moving_guest_was_read_from_no_stale_cache_line(host: Host) -> None:
    assert host.counters["coherency faults"] == 0


# -- 5. hostile use -----------------------------------------------------------------------------


def test_commands_out_of_order_get_the_documented_statuses(host: Host) -> None:
    found = re.search(r"^kvmabuse: (\d+) calls, (\d+) misses$", host.text, re.MULTILINE)
    assert found, "kvmabuse did not come to its end"
    misses = re.findall(r"^kvmabuse: MISS .*$", host.text, re.MULTILINE)
    assert misses == [] and int(found.group(1)) >= 30 and found.group(2) == "0"


def test_linux_comes_to_its_end(host: Host) -> None:
    assert "referee: done" in host.text
