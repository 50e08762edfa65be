# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Packing as a whole: what comes out is sound, says what went in, and is the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from pack import manifest, measure, show
from pack.manifest import Action, Encryption, Flag, Kind


@pytest.fixture
def packed(pack, guests_toml: Path, tmp_path: Path) -> Path:
    pack(guests_toml, "--manifest-only", "-o", tmp_path / "out.manifest")
    return tmp_path / "out.manifest"


def test_the_hypervisors_validator_accepts_what_the_packer_writes(packed: Path, manifest_check) -> None:
    assert manifest_check(packed) == "MANIFEST_OK"


def test_a_linux_guest_is_accepted_too(
    pack, debian_kernel: Path, samples: Path, tmp_path: Path, manifest_check
) -> None:
    default = Path(__file__).resolve().parents[2] / "guest" / "guests.toml"
    pack(default, "--set", f"BUILD={samples}", "--manifest-only", "-o", tmp_path / "default.manifest")
    assert manifest_check(tmp_path / "default.manifest") == "MANIFEST_OK"


def test_a_changed_byte_anywhere_in_the_table_is_noticed(packed: Path, tmp_path: Path, manifest_check) -> None:
    raw = packed.read_bytes()
    for offset in range(0, 2048, 97):
        spoilt = tmp_path / "spoilt"
        spoilt.write_bytes(raw[:offset] + bytes([raw[offset] ^ 0x10]) + raw[offset + 1 :])
        assert manifest_check(spoilt) != "MANIFEST_OK", offset


def test_packing_twice_gives_the_same_bytes(pack, guests_toml: Path, packed: Path, tmp_path: Path) -> None:
    pack(guests_toml, "--manifest-only", "-o", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()


def test_reading_back_gives_what_was_asked_for(packed: Path) -> None:
    secret, plain, host = manifest.parse(packed.read_bytes())
    assert (secret.name, plain.name, host.name) == ("secret", "plain", "host")
    assert [g.encryption for g in (secret, plain, host)] == [Encryption.SEV, Encryption.NONE, Encryption.HOST]
    assert [g.memory >> 20 for g in (secret, plain, host)] == [16, 2048, 8]
    assert (secret.policy, secret.cbitpos, secret.reduced_phys_bits) == (0x01000001, 47, 5)
    assert (plain.vcpus, plain.restarts, plain.on_reboot, plain.on_poweroff) == (2, 5, Action.RESTART, Action.DESTROY)
    assert (secret.pins, plain.pins) == ((), (1, 0))
    assert secret.launch_digest == measure.launch_digest(secret.steps)
    assert plain.launch_digest == host.launch_digest == bytes(32)


def test_writing_what_was_read_gives_the_same_bytes(packed: Path) -> None:
    raw = packed.read_bytes()
    assert manifest.serialise(manifest.parse(raw)) == raw


def test_pins_of_some_vcpus_only_survive_and_are_shown(packed: Path, tmp_path: Path, manifest_check) -> None:
    """guests.toml pins all vCPUs or none; the format takes each alone."""
    guests = manifest.parse(packed.read_bytes())
    guests[1].pins = (manifest.CPU_ANY, 3)
    (tmp_path / "some").write_bytes(manifest.serialise(guests))
    assert manifest_check(tmp_path / "some") == "MANIFEST_OK"
    assert manifest.parse((tmp_path / "some").read_bytes())[1].pins == (manifest.CPU_ANY, 3)
    assert "  pins = [any, 3]\n" in show.full(guests[1])


def test_guests_share_equal_payload(packed: Path) -> None:
    raw = packed.read_bytes()
    image = (packed.parent / "hello.bin").read_bytes()
    assert raw.count(image) == 1


def test_page_tables_carry_the_c_bit_of_the_manifest_in_every_entry(packed: Path) -> None:
    guests = manifest.parse(packed.read_bytes())
    for guest, c_bit in zip(guests, (1 << 47, 0, 0), strict=True):
        table = next(step for step in guest.steps if step.gpa == guest.registers.values["cr3"])
        entries = [int.from_bytes(table.data[at : at + 8], "little") for at in range(0, table.size, 8)]
        present = [entry for entry in entries if entry & 1]
        assert len(present) == 1 + -(-guest.memory // (1 << 30)) + guest.memory // (2 << 20)
        assert all(entry & (1 << 47) == c_bit for entry in present)
        large = [entry & 0x7FFFFFFFF000 for entry in present if entry & 0x80]
        assert large == list(range(0, guest.memory, 2 << 20))
        assert guest.registers.values["cr3"] == table.gpa


def test_digest_is_sha256_of_measured_bytes_in_order() -> None:
    steps = [
        manifest.Step(Kind.DATA, 0x1000, 4096, b"a" * 4096),
        manifest.Step(Kind.ZERO, 0x4000, 5 << 20),
        manifest.Step(Kind.SHARED, 0x800000, 4096, b"b" * 4096),
        manifest.Step(Kind.DATA, 0x900000, 8192, b"c" * 8192),
    ]
    assert measure.launch_digest(steps) == hashlib.sha256(b"a" * 4096 + bytes(5 << 20) + b"c" * 8192).digest()
    assert measure.launch_digest([]) == hashlib.sha256(b"").digest()


def test_pack_prints_digest_and_measured_table(pack, guests_toml: Path, tmp_path: Path) -> None:
    out = pack(guests_toml, "--manifest-only", "-o", tmp_path / "x").stdout
    secret = manifest.parse((tmp_path / "x").read_bytes())[0]
    assert f"launch digest  {secret.launch_digest.hex()}" in out
    assert re.search(r"0x00100000 0x00100fff +4 KiB +data +yes +image", out)
    assert pack(guests_toml, "--manifest-only", "-q", "-o", tmp_path / "x").stdout == ""


def test_show_tells_everything(pack, packed: Path) -> None:
    out = pack("--show", packed).stdout
    for text in ("guest secret: 16 MiB, 1 vCPU, encryption sev", "policy = 0x1000001", "cbitpos = 47", "reduced-phys-bits = 5",
                 "guest plain: 2 GiB, 2 vCPUs", "pins = [1, 0]", "on_reboot = restart", "restarts = 5",
                 "rip=0x100000", "efer=0xd00", "matches the steps", "selector=0x0010 attributes=0xa9b limit=0xffffffff"):  # fmt: skip
        assert text in out
    raw = packed.read_bytes()
    assert out.rstrip("\n") == show.show(manifest.parse(raw), len(raw))


def test_what_a_guest_may_do_and_its_secrets_place_go_through(
    pack, guests_toml: Path, tmp_path: Path, manifest_check, debian_kernel: Path
) -> None:
    (tmp_path / "cert.b64").write_text(base64.b64encode(bytes(2084)).decode())
    (tmp_path / "session.b64").write_text(base64.b64encode(bytes(128)).decode())
    (tmp_path / "initrd").write_bytes(b"I" * 5000)
    session = 'dh-cert = "cert.b64"\nsession = "session.b64"\nrequire-secret = true\n'
    text = guests_toml.read_text().replace("[guest.sev]\n", f"[guest.sev]\n{session}secret-address = 0x200010\n")
    text = text.replace('name = "plain"', 'name = "plain"\ndebug = true\nsnapshot = true').replace(
        'name = "host"', 'name = "host"\ncontrol = true\nserial = "com2"'
    )
    text += f"""
[[guest]]
name = "linux"
memory = "256M"
encryption = "sev"
kernel = "{debian_kernel}"
initrd = "initrd"
[guest.sev]
session = "at-launch"
require-secret = true
secret-size = 16384
"""
    guests_toml.write_text(text)
    said = pack(guests_toml, "--manifest-only", "-o", tmp_path / "flags.manifest").stdout
    assert manifest_check(tmp_path / "flags.manifest") == "MANIFEST_OK"
    raw = (tmp_path / "flags.manifest").read_bytes()
    secret, plain, host, linux = guests = manifest.parse(raw)
    assert [guest.flags for guest in guests] == [
        Flag.REQUIRE_SECRET, Flag.DEBUG | Flag.SNAPSHOT, Flag.CONTROL | Flag.SERIAL_COM2,
        Flag.SESSION_AT_LAUNCH | Flag.REQUIRE_SECRET,
    ]  # fmt: skip
    assert (secret.secret_gpa, secret.secret_size) == (0x200010, 4096)
    assert (linux.secret_gpa, linux.secret_size) == ((256 << 20) - 16384, 16384)
    assert manifest.serialise(guests) == raw
    shown = pack("--show", tmp_path / "flags.manifest").stdout
    for words in ("require-secret = true: up to 4096 bytes at 0x200010", "debug = true", "snapshot = true", "control = true", 'serial = "com2"',
                  'session = "at-launch"', "place of the secret"):  # fmt: skip
        assert words in said
        assert words in shown or words == "place of the secret"  # labels are not in the binary


def test_an_address_over_what_is_placed_is_refused_by_name(pack, guests_toml: Path, tmp_path: Path) -> None:
    (tmp_path / "cert.b64").write_text(base64.b64encode(bytes(2084)).decode())
    (tmp_path / "session.b64").write_text(base64.b64encode(bytes(128)).decode())
    more = 'dh-cert = "cert.b64"\nsession = "session.b64"\nrequire-secret = true\nsecret-address = 0xff000\nsecret-size = 4112\n'
    guests_toml.write_text(guests_toml.read_text().replace("[guest.sev]\n", f"[guest.sev]\n{more}"))
    done = pack(guests_toml, "--manifest-only", "-o", tmp_path / "never", check=False)
    assert done.returncode == 1 and not (tmp_path / "never").exists()
    assert (
        'guest "secret": secret-address: 4112 bytes from 0xff000 would overwrite image (0x100000, 4 KiB)' in done.stderr
    )


def test_firmware_and_the_wish_for_certificates_go_through(
    pack, guests_toml: Path, packed: Path, tmp_path: Path, manifest_check
) -> None:
    firmware = bytes(range(256)) * 200
    (tmp_path / "sev.sbin").write_bytes(firmware)
    guests_toml.write_text(
        guests_toml.read_text()
        + '[platform]\nsev-firmware = "sev.sbin"\nsev-firmware-version = "1.55.29"\nshow-pdh = true\n'
    )
    said = pack(guests_toml, "--manifest-only", "-o", tmp_path / "more.manifest").stdout
    assert manifest_check(tmp_path / "more.manifest") == "MANIFEST_OK"
    raw = (tmp_path / "more.manifest").read_bytes()
    platform = manifest.parse_platform(raw)
    assert platform == manifest.Platform(firmware, (1, 55, 29), True)
    assert manifest.serialise(manifest.parse(raw), platform) == raw
    assert manifest.parse_platform(packed.read_bytes()) == manifest.Platform()
    assert [g.launch_digest for g in manifest.parse(raw)] == [
        g.launch_digest for g in manifest.parse(packed.read_bytes())
    ]
    told = f"  sev-firmware: 1.55 build 29, {len(firmware)} bytes, sha256 {hashlib.sha256(firmware).hexdigest()}\n  show-pdh = true\n"
    assert told in said and told in pack("--show", tmp_path / "more.manifest").stdout


def test_show_says_when_a_digest_is_wrong(packed: Path) -> None:
    guests = manifest.parse(packed.read_bytes())
    guests[0].launch_digest = bytes([1]) * 32
    assert "WRONG" in show.full(guests[0])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: raw[:40], "shorter"),
        (lambda raw: b"x" + raw[1:], "magic"),
        (lambda raw: raw[:8] + b"\1" + raw[9:], "revision 1"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:100] + b"\x99" + raw[101:], "table's checksum"),
        (lambda raw: raw[:-1] + b"\x99", "payload's checksum"),
    ],
)
def test_show_refuses_what_is_no_manifest(pack, packed: Path, tmp_path: Path, spoil, words: str) -> None:
    (tmp_path / "bad").write_bytes(spoil(packed.read_bytes()))
    done = pack("--show", tmp_path / "bad", check=False)
    assert done.returncode == 1 and words in done.stderr and str(tmp_path / "bad") in done.stderr


def test_a_failed_run_leaves_no_file(pack, guests_toml: Path, tmp_path: Path) -> None:
    guests_toml.write_text(guests_toml.read_text().replace("hello.bin", "missing.bin"))
    done = pack(guests_toml, "--manifest-only", "-o", tmp_path / "never", check=False)
    assert done.returncode == 1 and not (tmp_path / "never").exists()
    done = pack(guests_toml, "--manifest-only", "-o", tmp_path / "no" / "folder", check=False)
    assert done.returncode == 1
