# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's files against the firmware model: it, not this project's Python, says which of them hold."""

from __future__ import annotations

import base64
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sevfw import AT_A, AT_B, AT_C, AT_GUEST, CERT, Firmware

from pack import manifest

HERE = Path(__file__).resolve().parent
BUILD = os.environ.get("BUILD", ".build")
API = ["--api-major", "1", "--api-minor", "55", "--build-id", "31"]
POLICY = 0x01000001
MAX_SECRET = 16384
SECRET_AT = AT_GUEST + 0x200000
AT_PAYLOAD = 0x40000


@pytest.fixture(scope="session")
def program(build: Path, built: Callable[..., None]) -> Path:
    built(f"{BUILD}/unit/firmware/sevfw-tool")
    return build / "unit" / "firmware" / "sevfw-tool"


@dataclass
class Platform:
    """A platform in INIT, and what its owner's file system has of it."""

    firmware: Firmware
    folder: Path

    @property
    def exported(self) -> Path:
        return self.folder / "exported.chain"

    @property
    def judge(self) -> list[object]:
        """Options that lead from the exported chain to the test's root."""
        return [
            "--cek",
            self.folder / "cek.cert",
            "--ca",
            self.folder / "ask_ark.cert",
            "--root",
            self.folder / "ark.cert",
        ]


def save(platform: Platform) -> None:
    """As `sevctl export` does, but for AMD's signature under the CEK; and what AMD's servers have."""
    platform.exported.write_bytes(b"".join(platform.firmware.export().values()))
    server = {name: bytes.fromhex(data) for name, data in platform.firmware.ask("kds").items()}
    (platform.folder / "cek.cert").write_bytes(server["cek"])
    (platform.folder / "ark.cert").write_bytes(server["ark"])
    (platform.folder / "ask_ark.cert").write_bytes(server["ask"] + server["ark"])


@pytest.fixture
def platform(program: Path, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(Firmware(str(program)), tmp_path)
    made.firmware.bring_up()
    save(made)
    yield made
    made.firmware.close()


# ---------------------------------------------------------------- the platform's certificates


@pytest.mark.parametrize("name", ["naples", "rome"])
def test_chains_of_real_platforms_hold_up_to_amds_root(owner, tmp_path: Path, name: str) -> None:
    chain = HERE / "chains" / f"{name}.chain"
    said = owner("verify", chain).stdout
    assert f"ARK  AMD's root for EPYC 700{'12'[name == 'rome']} ({name.title()})\n{chain}: verified\n" in said
    raw, part = chain.read_bytes(), tmp_path / "part"
    part.write_bytes(raw[: 4 * CERT])
    done = owner("verify", part, check=False)
    assert done.returncode == 1 and "it ends at the CEK: give AMD's ASK and ARK" in done.stderr
    (tmp_path / "ask_ark").write_bytes(raw[4 * CERT :])
    assert owner("verify", part, "--ca", tmp_path / "ask_ark").stdout == said.replace(str(chain), str(part))
    owner("export", part, tmp_path / "full", "--ca", tmp_path / "ask_ark")
    assert (tmp_path / "full").read_bytes() == raw


def test_another_familys_root_does_not_do(owner, tmp_path: Path) -> None:
    raw = (HERE / "chains" / "naples.chain").read_bytes()
    (tmp_path / "ask_ark").write_bytes(raw[4 * CERT :])
    done = owner("verify", HERE / "chains" / "rome.chain", "--ca", tmp_path / "ask_ark", check=False)
    assert done.returncode == 1 and "not signed by this ASK: is it of another family of servers?" in done.stderr


@pytest.mark.parametrize("name", ["naples", "rome"])
def test_a_changed_byte_in_any_certificate_breaks_the_chain(owner, tmp_path: Path, name: str) -> None:
    """In what is signed and in each signature that is used."""
    raw = (HERE / "chains" / f"{name}.chain").read_bytes()
    size = (len(raw) - 4 * CERT) // 2
    used = {"PDH": [5, 0x41C], "PEK": [5, 0x41C, 0x624], "OCA": [5, 0x41C], "CEK": [5, 0x41C]}
    places = [number * CERT + at for number, ats in enumerate(used.values()) for at in ats]
    places += [4 * CERT + at + number * size for number in range(2) for at in (5, size - 5)]
    for at in places:
        (tmp_path / "chain").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        done = owner("verify", tmp_path / "chain", check=False)
        assert done.returncode == 1 and "signed by" in done.stderr, (at, done.stderr)


def test_the_models_chain_holds_up_to_a_given_root_only(owner, platform: Platform) -> None:
    chain, (cek, ca, root) = platform.exported, (platform.judge[at : at + 2] for at in (0, 2, 4))
    assert f"ARK  the root in {root[1]}\n{chain}: verified\n" in owner("verify", chain, *platform.judge).stdout
    for words, answer in (
        (
            [*ca, *root],
            "the CEK has no signature of AMD's yet: get the signed one from https://kdsintf.amd.com/cek/id/CHIPID",
        ),
        ([*cek, *root], "it ends at the CEK: give AMD's ASK and ARK"),
        ([*cek, *ca], "its root is none of AMD's for EPYC 7001 (Naples), EPYC 7002 (Rome)"),
    ):
        done = owner("verify", chain, *words, check=False)
        assert done.returncode == 1 and answer in done.stderr
    (platform.folder / "other").write_bytes((HERE / "chains" / "rome.chain").read_bytes()[-1600:])
    done = owner("verify", chain, *cek, *ca, "--root", platform.folder / "other", check=False)
    assert done.returncode == 1 and "its root is not the one in" in done.stderr


def test_another_chips_cek_is_refused(owner, platform: Platform, program: Path) -> None:
    other = Firmware(str(program), "--chip-id", "another chip")
    (platform.folder / "cek.cert").write_bytes(bytes.fromhex(other.ask("kds")["cek"]))
    other.close()
    done = owner("verify", platform.exported, *platform.judge, check=False)
    assert done.returncode == 1 and "cek.cert: this CEK is another chip's" in done.stderr


def test_the_chain_holds_after_new_keys_and_mixed_ones_do_not(owner, platform: Platform) -> None:
    before = platform.exported.read_bytes()
    platform.firmware.command("PEK_GEN")
    save(platform)
    assert owner("verify", platform.exported, *platform.judge).returncode == 0
    after = platform.exported.read_bytes()
    for number, words in enumerate(
        ("the PDH is not signed by the PEK", "the PDH is not signed by the PEK", "the PEK is not signed by the OCA")
    ):
        mixed = after[: number * CERT] + before[number * CERT : (number + 1) * CERT] + after[(number + 1) * CERT :]
        platform.exported.write_bytes(mixed)
        done = owner("verify", platform.exported, *platform.judge, check=False)
        assert done.returncode == 1 and words in done.stderr


# ---------------------------------------------------------------- a launch


@dataclass
class Launch:
    """A guest in LSECRET whose measurement the owner has verified."""

    platform: Platform
    handle: int
    packed: Path
    blob: bytes

    def key(self, name: str) -> Path:
        return self.platform.folder / f"web_{name}.bin"

    def build(self, owner, *what: object, check: bool = True, **keys: object) -> subprocess.CompletedProcess:
        folder = self.platform.folder
        keys = {"tik": self.key("tik"), "tek": self.key("tek"), "launch-measure-blob": self.blob.hex()} | keys
        words = [word for name, value in keys.items() for word in (f"--{name}", value)]
        return owner("secret", "build", *words, *what, folder / "header", folder / "payload", "--force", check=check)

    def files(self) -> tuple[bytes, bytes]:
        return (self.platform.folder / "header").read_bytes(), (self.platform.folder / "payload").read_bytes()

    def inject(self, header: bytes, payload: bytes, expect: str = "SUCCESS", trans: int | None = None) -> None:
        firmware = self.platform.firmware
        firmware.write(AT_A, header)
        firmware.write(AT_PAYLOAD, payload)
        size = len(payload)
        lengths = (SECRET_AT, size, 0, AT_PAYLOAD, size if trans is None else trans)
        firmware.command("LAUNCH_SECRET", struct.pack("<IIQIIQIIQI", self.handle, 0, AT_A, 52, 0, *lengths), expect)

    def seen(self, size: int) -> bytes:
        """What the guest reads there."""
        return bytes.fromhex(self.platform.firmware.ask(f"read-guest 1 {SECRET_AT:#x} {size}")["data"])


def launch(owner, platform: Platform, packed: Path, answer: str = "verified") -> Launch:
    """LAUNCH_START to LAUNCH_MEASURE of what was packed, by the model; judged by the owner."""
    firmware, guest = platform.firmware, manifest.parse(packed.read_bytes())[0]
    firmware.write(AT_A, guest.dh_cert)
    firmware.write(AT_B, guest.session)
    start = struct.pack("<IIQIIQI", 0, guest.policy, AT_A, CERT, 0, AT_B, 128)
    handle = struct.unpack_from("<I", firmware.command("LAUNCH_START", start))[0]
    firmware.command("ACTIVATE", struct.pack("<II", handle, 1))
    for step in guest.steps:
        firmware.write(AT_GUEST, step.data)
        firmware.command("LAUNCH_UPDATE_DATA", struct.pack("<IIQI", handle, 0, AT_GUEST, step.size))
    firmware.command("LAUNCH_MEASURE", struct.pack("<IIQI", handle, 0, AT_C, 48))
    blob = firmware.read(AT_C, 48)
    done = owner("measurement", "verify", packed, "web", *API, "--tik", platform.folder / "web_tik.bin",
                 "--launch-measure-blob", base64.b64encode(blob).decode())  # fmt: skip
    assert answer in done.stdout
    return Launch(platform, handle, packed, blob)


@pytest.fixture
def packed(owner, pack, platform: Platform) -> Path:
    """A guest that requires a secret, with a session for this platform."""
    folder = platform.folder
    owner("session", "--name", "web", "--folder", folder, platform.exported, hex(POLICY))
    (folder / "image.bin").write_bytes(b"\xf4" * 5000)
    (folder / "guests.toml").write_text(
        f"""
[[guest]]
name = "web"
memory = "4M"
encryption = "sev"
image = "image.bin"
[guest.sev]
policy = {POLICY:#x}
dh-cert = "web_godh.b64"
session = "web_session.b64"
require-secret = true
secret-address = {SECRET_AT:#x}
secret-size = {MAX_SECRET}
"""
    )
    pack(folder / "guests.toml", "--manifest-only", "-o", folder / "packed")
    return folder / "packed"


@pytest.fixture
def launched(owner, platform: Platform, packed: Path) -> Launch:
    return launch(owner, platform, packed)


def test_files_for_the_guests_root_arrive_as_an_archive(owner, launched: Launch) -> None:
    folder = launched.platform.folder
    key, more = os.urandom(64), b"name=value\n" * 300
    (folder / "key").write_bytes(key)
    (folder / "more").write_bytes(more)
    launched.build(owner, "--file", f"secret.key:{folder / 'key'}", "--file", f"web.conf:{folder / 'more'}")
    header, payload = launched.files()
    assert len(header) == 52 and len(payload) % 16 == 0 and key not in payload
    launched.inject(header, payload)
    (folder / "root").mkdir()
    archive = launched.seen(len(payload))
    subprocess.run(["cpio", "-idm", "--quiet"], cwd=folder / "root", input=archive, check=True)
    assert {path.name: path.read_bytes() for path in (folder / "root").iterdir()} == {
        "secret.key": key,
        "web.conf": more,
    }
    assert (folder / "root" / "secret.key").stat().st_mode & 0o7777 == 0o400


def test_table_and_plain_content_arrive(owner, launched: Launch) -> None:
    folder = launched.platform.folder
    (folder / "key").write_bytes(b"17 bytes of a key")
    launched.build(owner, "--secret", f"736869e5-84f0-4973-92ec-06879ce3da0b:{folder / 'key'}")
    launched.inject(*launched.files())
    entry = bytes.fromhex("e5696873f084734992ec06879ce3da0b") + struct.pack("<I", 37) + b"17 bytes of a key"
    assert launched.seen(64) == (
        bytes.fromhex("42f5741edd71664d963eef4287ff173b") + struct.pack("<I", 57) + entry
    ).ljust(64, b"\0")
    launched.build(owner, "--plain", folder / "key")
    launched.inject(*launched.files())
    assert launched.seen(32) == b"17 bytes of a key".ljust(32, b"\0")


def test_no_two_packets_are_alike(owner, launched: Launch) -> None:
    (launched.platform.folder / "key").write_bytes(bytes(32))
    made = []
    for _ in range(2):
        launched.build(owner, "--plain", launched.platform.folder / "key")
        made += launched.files()
    assert len(set(made)) == 4 and made[0][4:20] != made[2][4:20]


def test_as_much_as_one_command_takes(owner, launched: Launch) -> None:
    path = launched.platform.folder / "key"
    path.write_bytes(content := os.urandom(MAX_SECRET))
    launched.build(owner, "--plain", path)
    launched.inject(*launched.files())
    assert launched.seen(MAX_SECRET) == content
    path.write_bytes(content + b"x")
    done = launched.build(owner, "--plain", path, check=False)
    assert done.returncode == 1 and "more than 16384 bytes" in done.stderr
    path.write_bytes(content[:-200])
    done = launched.build(owner, "--file", f"secret.key:{path}", check=False)
    assert done.returncode == 1 and "the secret has 16432 bytes; one LAUNCH_SECRET takes 16384" in done.stderr


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_the_firmware_refuses_a_changed_packet(owner, launched: Launch) -> None:
    (launched.platform.folder / "key").write_bytes(b"k" * 64)
    launched.build(owner, "--plain", launched.platform.folder / "key")
    header, payload = launched.files()
    before = launched.seen(64)
    for at in (4, 19, 20, 51):
        launched.inject(flipped(header, at), payload, "BAD_MEASUREMENT")
    for changed in (flipped(payload, 0), flipped(payload, 63), payload[:48], payload + bytes(16)):
        launched.inject(header, changed, "BAD_MEASUREMENT")
    launched.inject(flipped(header, 1), payload, "INVALID_PARAM")  # FLAGS
    launched.inject(header, payload, "INVALID_LENGTH", trans=48)
    assert launched.seen(64) == before
    launched.inject(header, payload)
    assert launched.seen(64) == b"k" * 64


def test_the_firmware_refuses_another_owners_packet(owner, launched: Launch) -> None:
    (launched.platform.folder / "key").write_bytes(b"k" * 64)
    launched.build(owner, "--plain", launched.platform.folder / "key", tik="11" * 16)
    launched.inject(*launched.files(), "BAD_MEASUREMENT")
    launched.build(owner, "--plain", launched.platform.folder / "key", **{"launch-measure-blob": bytes(48).hex()})
    launched.inject(*launched.files(), "BAD_MEASUREMENT")
    # The MAC is over the ciphertext: a wrong TEK alone gives the guest noise.
    launched.build(owner, "--plain", launched.platform.folder / "key", tek="11" * 16)
    launched.inject(*launched.files())
    assert launched.seen(64) != b"k" * 64


def test_the_firmware_refuses_a_packet_of_an_earlier_launch(owner, launched: Launch) -> None:
    """Of the same guest with the same session: each launch has its MNONCE, and so another MEASURE."""
    (launched.platform.folder / "key").write_bytes(b"k" * 64)
    launched.build(owner, "--plain", launched.platform.folder / "key")
    packet, firmware = launched.files(), launched.platform.firmware
    launched.inject(*packet)
    firmware.command("LAUNCH_FINISH", struct.pack("<I", launched.handle))
    launched.inject(*packet, "INVALID_GUEST_STATE")
    firmware.command("DEACTIVATE", struct.pack("<I", launched.handle))
    firmware.command("DECOMMISSION", struct.pack("<I", launched.handle))
    firmware.ask("wbinvd")
    firmware.command("DF_FLUSH")
    again = launch(owner, launched.platform, launched.packed)
    assert again.blob != launched.blob
    again.inject(*packet, "BAD_MEASUREMENT")
    again.build(owner, "--plain", launched.platform.folder / "key")
    again.inject(*again.files())
    assert again.seen(64) == b"k" * 64


# ---------------------------------------------------------------- a running guest


def attest(launched: Launch, nonce: bytes) -> Path:
    firmware = launched.platform.firmware
    firmware.command("ATTESTATION", struct.pack("<IIQ16sI", launched.handle, 0, AT_C, nonce, 208))
    path = launched.platform.folder / "report"
    path.write_bytes(firmware.read(AT_C, 208))
    return path


def test_attestation_is_verified_up_the_chain(owner, launched: Launch) -> None:
    launched.platform.firmware.command("LAUNCH_FINISH", struct.pack("<I", launched.handle))
    nonce, platform = os.urandom(16), launched.platform
    report = attest(launched, nonce)
    guest = manifest.parse(launched.packed.read_bytes())[0]
    verify = ["attestation", "verify", report, platform.exported]
    of_packed, of_digest = [launched.packed, "web"], [
        "--launch-digest",
        guest.launch_digest.hex(),
        "--policy",
        hex(POLICY),
    ]
    asked = ["--mnonce", nonce.hex()]
    said = owner(*verify, *of_packed, *asked, *platform.judge).stdout
    assert f"{report}: verified: guest web runs with policy {POLICY:#x}, says the platform, up to the root in" in said
    assert "verified" in owner(*verify, *asked, *of_digest, *platform.judge).stdout

    refused = [
        ([*of_packed, *asked], "the CEK has no signature of AMD's yet"),  # up the chain, not only to the PEK
        ([*of_packed, "--mnonce", bytes(16).hex(), *platform.judge], "answers another request"),
        ([*asked, *platform.judge, "--launch-digest", "11" * 32, "--policy", "1"], "the guest was launched otherwise"),
        ([*of_packed, *asked, *platform.judge, "--policy", "0"], "the guest's policy is 0x1000001, not 0x0"),
    ]
    for words, answer in refused:
        done = owner(*verify, *words, check=False)
        assert done.returncode == 1 and answer in done.stderr
    raw = report.read_bytes()
    for at in (0, 0x10, 0x30, 0x40, 0x88):
        report.write_bytes(flipped(raw, at))
        done = owner(*verify, *of_packed, *asked, *platform.judge, check=False)
        assert done.returncode == 1 and "not signed by this platform's PEK" in done.stderr


def test_another_platforms_report_is_refused(owner, launched: Launch, program: Path, tmp_path: Path) -> None:
    launched.platform.firmware.command("LAUNCH_FINISH", struct.pack("<I", launched.handle))
    report = attest(launched, bytes(16))
    (tmp_path / "other").mkdir()
    other = Platform(Firmware(str(program)), tmp_path / "other")
    other.firmware.bring_up()
    save(other)
    other.firmware.close()
    done = owner(
        "attestation",
        "verify",
        report,
        other.exported,
        launched.packed,
        "web",
        "--mnonce",
        "00" * 16,
        *other.judge,
        check=False,
    )
    assert done.returncode == 1 and "not signed by this platform's PEK" in done.stderr
