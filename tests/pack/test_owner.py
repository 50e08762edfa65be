# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's tool against the vectors of the reference, and against a firmware of the test's own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from owner import certificate, packet, report, session
from pack import manifest, measure
from pack.errors import PackError

POLICY = 0x11010025
VERSION = ["--api-major", "1", "--api-minor", "55", "--build-id", "31"]


def seq(first: int, count: int) -> bytes:
    return bytes((first + i) & 0xFF for i in range(count))


def key(first: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seq(first, 48), "big"), ec.SECP384R1())


def pdh_certificate(private: ec.EllipticCurvePrivateKey) -> bytes:
    return certificate.encode(private.public_key())


@pytest.fixture
def secrets() -> session.Secrets:
    return session.Secrets(key(0x31), seq(0xA0, 16), seq(0xB0, 16), seq(0, 16), seq(0xC0, 16))


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize(
    ("name", "secret", "label", "context", "size"),
    [
        ("K1_kdf_16zero", bytes(16), b"sev-master-secret", bytes(16), 16),
        ("K2_kdf_48byte_key", seq(0, 48), b"sev-master-secret", seq(0xF0, 16), 16),
        ("K3_kdf_56B_two_blocks", seq(0, 32), b"sev-chip-endorsement-key", b"", 56),
    ],
)
def test_key_derivation(vectors, name: str, secret: bytes, label: bytes, context: bytes, size: int) -> None:
    assert session.kdf(secret, label, context, size).hex() == vectors[name]


def test_session_and_certificate(vectors, secrets: session.Secrets) -> None:
    godh, blob = session.make(secrets, key(0x01).public_key(), POLICY)
    assert blob.hex() == vectors["E4_session"]
    assert godh[:0xB0].hex() == vectors["E5_godh_first_0xb0"]
    assert hashlib.sha256(godh).hexdigest() == vectors["E5_godh_sha256"]


def test_measure_of_public_test_suites(vectors) -> None:
    empty = hashlib.sha256(b"").digest()
    tik, nonce = bytes.fromhex("66320db73158a35a255d051758e95ed4"), bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554")
    assert measure.measure(tik, (0, 18), 15, 0, empty, nonce).hex() == vectors["M1_public"]
    nonce = base64.b64decode("wxP6tRHCFrFQWxsuqZA8QA==")
    digest = base64.b64decode("xkvRAfyaSizgonxAjZIAkR8TmolUabBKQKb6KJCDDSM=")
    result = measure.measure(bytes.fromhex("3569cf61a32a602b87185ac6e0f55913"), (1, 40), 40, 3, digest, nonce)
    assert base64.b64encode(result + nonce) == b"lswbxWxI9gckya16JQvdFtpYmNO4b+3inAPpqsgoBI7DE/q1EcIWsVBbGy6pkDxA"


def test_measure_of_the_reference(vectors) -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert measure.measure(seq(0xB0, 16), (1, 55), 31, POLICY, digest, seq(0xD0, 16)).hex() == vectors["M2_measure"]


def test_measurement_of_sevctls_own_test(owner, tmp_path: Path) -> None:
    """virtee/sevctl, tests/measurementbuild.rs: the same options give the same words, and the same file."""
    (tmp_path / "tik1.bin").write_bytes(bytes.fromhex("3569cf61a32a602b87185ac6e0f55913"))
    words = ["--api-major", "0x01", "--api-minor", "40", "--build-id", "40", "--policy", "0x03", "--tik", tmp_path / "tik1.bin",
             "--launch-digest", "xkvRAfyaSizgonxAjZIAkR8TmolUabBKQKb6KJCDDSM="]  # fmt: skip
    blob = "lswbxWxI9gckya16JQvdFtpYmNO4b+3inAPpqsgoBI7DE/q1EcIWsVBbGy6pkDxA"
    build = ["measurement", "build", *words]
    assert owner(*build, "--nonce", "wxP6tRHCFrFQWxsuqZA8QA==").stdout == blob + "\n"
    assert owner(*build, "--launch-measure-blob", blob).stdout == blob + "\n"
    owner(*build, "--launch-measure-blob", blob, "--outfile", tmp_path / "out")
    assert base64.b64encode((tmp_path / "out").read_bytes()).decode() == blob
    assert "launch: verified" in owner("measurement", "verify", *words, "--launch-measure-blob", blob).stdout
    other = "A" + blob[1:]
    assert owner("measurement", "verify", *words, "--launch-measure-blob", other, check=False).returncode == 1


SECRET1, SECRET2 = b"MY-LUKS-PASSPHRASE", b"SOME OTHER SECRET"
LUKS = "736869e5-84f0-4973-92ec-06879ce3da0b"


@pytest.mark.parametrize(
    ("secrets", "header", "payload"),
    [
        ({LUKS: SECRET1}, "AAAAAKxUdO1N0yx9mJ7FI9klWey8FSzeYQ4X8K71VzNKLU/KQsIsQxLjtbhaPUewqshX5Q==",
         "0U3e5PcXv0UW+H4tSBFKOdCYfKE1+j38Bc2fuO16mYiyI+sWx7INfn+lgYj56GL12yyinDa+lVfCCwD/2w5cPA=="),
        ({LUKS: SECRET1, LUKS.replace("84f0", "aaaa"): SECRET2}, "AAAAAKxUdO1N0yx9mJ7FI9klWeyZ3r0dOEKHUOhIRqzGYYvTJgdMtBPL1nK6GD9aGET7Ng==",
         "0U3e5PcXv0UW+H4tSBFKObWYfKE1+j38Bc2fuO16mYiyI+sWx7INfn+lgYj56GL12yyinDa+lVfCC+WWs332lpLNUX1ZI3YK7vYgtys4X+uGxEIlkIQ90v8/w8ZFmQMe"),
    ],
)  # fmt: skip
def test_secrets_of_sevctls_own_tests(
    owner, tmp_path: Path, secrets: dict[str, bytes], header: str, payload: str
) -> None:
    """virtee/sevctl, tests/secretbuild.rs: the same options give the same two files."""
    words: list[object] = []
    for number, (guid, secret) in enumerate(secrets.items()):
        (tmp_path / f"secret{number}").write_bytes(secret)
        words += ["--secret", f"{guid}:{tmp_path / f'secret{number}'}"]
    files = [tmp_path / "header", tmp_path / "payload"]
    owner("secret", "build", "--tik", "c6d5a9956133050912b24bbe5c372686", "--tek", "52a869b79ab9c13bb6a92b0561619cb3",
          "--launch-measure-blob", "TLeA7607lZQntLjRY1/i+sbtdSZ+75zxpz4Px9hzpBLwItF5Q2o4prA++3ZZv9ZS",
          "--iv", "rFR07U3TLH2YnsUj2SVZ7A==", *words, *files)  # fmt: skip
    assert [base64.b64encode(file.read_bytes()).decode() for file in files] == [header, payload]


def test_secret_of_the_reference(vectors) -> None:
    content = packet.table([(uuid.UUID(LUKS), b"correct horse")])
    assert packet.padded(content).hex() == vectors["S1_plain_table"]
    measured = bytes.fromhex(vectors["M2_measure"])
    header, payload = packet.seal(seq(0xA0, 16), seq(0xB0, 16), measured, content, seq(0xE0, 16))
    assert (header.hex(), payload.hex()) == (vectors["S1_header"], vectors["S1_packet"])


def test_report_of_the_reference(vectors) -> None:
    pek = bytearray(pdh_certificate(key(0x61)))
    pek[8:16] = struct.pack("<II", certificate.Usage.PEK, 2)
    raw = bytes.fromhex(vectors["A1_report"])
    assert report.read(raw, pek) == report.Report(seq(0x70, 16), seq(0x80, 32), POLICY)
    for at in (0, 15, 16, 47, 48, 51, 0x34, 0x38, 0x40, 0x6F, 0x88):
        with pytest.raises(PackError):
            report.read(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], pek)
    pek[0x14 : 0x14 + 144] = pdh_certificate(key(0x62))[0x14 : 0x14 + 144]
    with pytest.raises(PackError, match="not signed by this platform's PEK"):
        report.read(raw, pek)


def test_launch_digest_of_the_reference(vectors) -> None:
    firmware = bytearray((7 * i + 3) & 0xFF for i in range(8192))
    for offset, name in ((0x1800, "L0_fw1_meta"), (0x2000 - 0x20 - 88, "L0_fw1_footer")):
        data = bytes.fromhex(vectors[name])
        firmware[offset : offset + len(data)] = data
    pages = [manifest.Step(manifest.Kind.DATA, at, 4096, bytes(firmware[at : at + 4096])) for at in (0, 4096)]
    assert measure.launch_digest(pages).hex() == vectors["L1_sev"]


def test_old_firmware_measures_without_version() -> None:
    args = (seq(0, 16), (0, 16), 9, 1, seq(0, 32), seq(1, 16))
    assert measure.measure(*args) == hmac.new(args[0], struct.pack("<I", 1) + args[4] + args[5], "sha256").digest()


# ---------------------------------------------------------------- the command, against a firmware of our own


def firmware_opens(pdh: ec.EllipticCurvePrivateKey, godh: bytes, blob: bytes, policy: int) -> tuple[bytes, bytes]:
    """LAUNCH_START's part of the handshake, written apart from owner/: (TEK, TIK)."""
    x, y = (int.from_bytes(godh[at : at + 72], "little") for at in (0x14, 0x5C))
    owner_key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()

    def derive(secret: bytes, label: bytes, context: bytes = b"") -> bytes:
        message = b"\1\0\0\0" + label + b"\0" + context + b"\x80\0\0\0"
        return hmac.new(secret, message, "sha256").digest()[:16]

    master = derive(pdh.exchange(ec.ECDH(), owner_key), b"sev-master-secret", blob[:16])
    wrapped, iv = blob[16:48], blob[48:64]
    assert hmac.new(derive(master, b"sev-kik"), wrapped, "sha256").digest() == blob[64:96]
    keys = Cipher(algorithms.AES(derive(master, b"sev-kek")), modes.CTR(iv)).decryptor().update(wrapped)
    assert hmac.new(keys[16:], struct.pack("<I", policy), "sha256").digest() == blob[96:]
    return keys[:16], keys[16:]


def make_session(owner, folder: Path, policy: str = "0x1", name: str = "vm") -> ec.EllipticCurvePrivateKey:
    pdh = ec.generate_private_key(ec.SECP384R1())
    (folder / "pdh.cert").write_bytes(pdh_certificate(pdh) + b"the rest of a chain")
    owner("session", folder / "pdh.cert", policy, "--name", name, "--folder", folder)
    return pdh


def test_firmware_opens_the_session(owner, tmp_path: Path) -> None:
    pdh = make_session(owner, tmp_path, "0x01000001", "web")
    godh, blob = (base64.b64decode((tmp_path / f"web_{part}.b64").read_bytes()) for part in ("godh", "session"))
    assert (len(godh), len(blob)) == (2084, 128)
    tek, tik = firmware_opens(pdh, godh, blob, 0x01000001)
    assert (tmp_path / "web_tik.bin").read_bytes() == tik and (tmp_path / "web_tek.bin").read_bytes() == tek


def test_files_are_as_those_of_sevctl(owner, tmp_path: Path) -> None:
    make_session(owner, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "pdh.cert",
        "vm_tik.bin",
        "vm_tek.bin",
        "vm_godh.b64",
        "vm_session.b64",
    }
    assert b"\n" not in (tmp_path / "vm_session.b64").read_bytes()
    assert (tmp_path / "vm_tik.bin").stat().st_mode & 0o777 == 0o600


def test_sessions_are_never_the_same(owner, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_session(owner, tmp_path, name=name)
    for part in ("tik.bin", "tek.bin", "godh.b64", "session.b64"):
        assert (tmp_path / f"a_{part}").read_bytes() != (tmp_path / f"b_{part}").read_bytes()


def test_existing_keys_are_kept(owner, tmp_path: Path) -> None:
    make_session(owner, tmp_path)
    before = (tmp_path / "vm_tik.bin").read_bytes()
    done = owner("session", tmp_path / "pdh.cert", "1", "--folder", tmp_path, check=False)
    assert done.returncode == 1 and "--force" in done.stderr and (tmp_path / "vm_tik.bin").read_bytes() == before
    owner("session", tmp_path / "pdh.cert", "1", "--folder", tmp_path, "--force")
    assert (tmp_path / "vm_tik.bin").read_bytes() != before


@pytest.fixture
def launched(owner, pack, guests_toml: Path, tmp_path: Path) -> tuple[Path, bytes, bytes]:
    """(packed file, TIK, what the firmware answered)."""
    pdh = make_session(owner, tmp_path, "0x01000001", "secret")
    text = guests_toml.read_text().replace(
        "cbitpos = 47", 'cbitpos = 47\ndh-cert = "secret_godh.b64"\nsession = "secret_session.b64"'
    )
    guests_toml.write_text(text)
    packed = tmp_path / "packed"
    pack(guests_toml, "--manifest-only", "-o", packed)
    guest = manifest.parse(packed.read_bytes())[0]
    _, tik = firmware_opens(pdh, guest.dh_cert, guest.session, guest.policy)
    nonce = seq(0x77, 16)
    digest = hashlib.sha256(b"".join(step.data for step in guest.steps)).digest()
    message = bytes([4, 1, 55, 31]) + struct.pack("<I", guest.policy) + digest + nonce
    return packed, tik, hmac.new(tik, message, "sha256").digest() + nonce


def test_verify_accepts_the_launch_that_was_packed(owner, launched) -> None:
    packed, _, answer = launched
    tik = packed.parent / "secret_tik.bin"
    common = [packed, "secret", "--tik", tik, *VERSION]
    assert (
        "verified"
        in owner("measurement", "verify", *common, "--launch-measure-blob", base64.b64encode(answer).decode()).stdout
    )
    (packed.parent / "blob").write_bytes(answer)
    assert owner("measurement", "verify", *common, "--launch-measure-blob", packed.parent / "blob").returncode == 0
    assert owner("measurement", "verify", *common, "--launch-measure-blob", answer.hex()).returncode == 0
    assert (
        owner("measurement", "build", *common, "--nonce", answer[32:].hex()).stdout.strip()
        == base64.b64encode(answer).decode()
    )


@pytest.mark.parametrize("what", ["answer", "tik", "api-major", "api-minor", "build-id", "policy"])
def test_verify_refuses_anything_else(owner, launched, what: str) -> None:
    packed, tik, answer = launched
    words = {"tik": base64.b64encode(tik).decode(), "api-major": "1", "api-minor": "55", "build-id": "31",
             "policy": "0x01000001", "launch-measure-blob": base64.b64encode(answer).decode()}  # fmt: skip
    if what == "answer":
        words["launch-measure-blob"] = base64.b64encode(bytes([answer[0] ^ 1]) + answer[1:]).decode()
    else:
        words |= {what: {"tik": "0" * 32, "api-major": "2", "api-minor": "54", "build-id": "30", "policy": "1"}[what]}
    arguments = [word for name, value in words.items() for word in (f"--{name}", value)]
    done = owner("measurement", "verify", packed, "secret", *arguments, check=False)
    assert done.returncode == 1 and "NOT VERIFIED" in done.stdout


def test_a_changed_image_changes_the_measurement_even_with_checksums_repaired(owner, launched) -> None:
    packed, _, answer = launched
    guests = manifest.parse(packed.read_bytes())
    image = next(step for step in guests[0].steps if step.gpa == 0x100000)
    image.data = bytes([image.data[0] ^ 1]) + image.data[1:]
    packed.write_bytes(manifest.serialise(guests))  # the digest in the file is still the old one
    done = owner("measurement", "verify", packed, "secret", "--tik", packed.parent / "secret_tik.bin", *VERSION,
                 "--launch-measure-blob", answer.hex(), check=False)  # fmt: skip
    assert done.returncode == 1 and "the launch digest in the file does not match its content" in done.stderr


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["nobody", "--tik", "A" * 22 + "=="], "there is no guest nobody; there are secret, plain, host"),
        (["plain", "--tik", "A" * 22 + "=="], "guest plain is not encrypted"),
        (["secret", "--tik", "!"], "--tik: ! is neither a file, nor base64"),
        (["secret", "--tik", "AAAA"], "--tik: 3 bytes instead of 16"),
    ],
)
def test_mistakes_are_answered_in_words(owner, launched, words: list[str], answer: str) -> None:
    done = owner("measurement", "build", launched[0], *words, *VERSION, "--nonce", "00" * 16, check=False)
    assert done.returncode == 1 and answer in done.stderr


def test_wrong_numbers_are_refused(owner, tmp_path: Path) -> None:
    for words in (["session", "x", "policy"], ["session", "x", "0x100000000"],
                  ["measurement", "build", "x", "g", "--tik", "t", "--api-major", "1", "--nonce", "n"],
                  ["measurement", "build", "x", "g", "--tik", "t", *VERSION[:5], "256", "--nonce", "n"]):  # fmt: skip
        assert owner(*words, check=False).returncode == 2
    make_session(owner, tmp_path)
    for policy, words in (("5", "SEV-ES"), ("0x40", "reserved")):
        done = owner("session", tmp_path / "pdh.cert", policy, "--name", "new", check=False)
        assert done.returncode == 1 and words in done.stderr


def test_wrong_certificates_are_refused() -> None:
    good = pdh_certificate(key(0x01))
    certificate.decode_pdh(good)
    cases = {
        "2083 bytes": good[:-1],
        "not a SEV certificate of version 1, but 2": b"\2" + good[1:],
        "not a PDH certificate: usage 0x1002": good[:8] + b"\2" + good[9:],
        "not on P-384": good[:16] + b"\1" + good[17:],
        "not a point": good[:20] + b"\1" + good[21:],
    }
    for words, data in cases.items():
        with pytest.raises(PackError, match=words):
            certificate.decode_pdh(data)


# ---------------------------------------------------------------- what the console printed


def chain_of(pdh: ec.EllipticCurvePrivateKey) -> bytes:
    """In form only: nobody signed it."""
    rest = (pdh_certificate(key(number)) for number in range(3))
    usages = (certificate.Usage.PEK, certificate.Usage.OCA, certificate.Usage.CEK)
    return pdh_certificate(pdh) + b"".join(
        cert[:8] + struct.pack("<II", usage, 2) + cert[16:] for cert, usage in zip(rest, usages, strict=True)
    )


def printed(what: str, data: bytes) -> list[str]:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return [f"sev pdh: {line}" for line in (f"-----BEGIN {what}-----", *lines, f"-----END {what}-----")]


def log_of(chain: bytes, chip: bytes = seq(1, 64)) -> list[str]:
    """A console's log with guests' lines between, one of which tries to be more than that."""
    ours = printed("SEV CERTIFICATE CHAIN", chain) + printed("SEV CHIP ID", chip)
    mixed = ["[    0.1] notice: sev: INIT"]
    for number, line in enumerate(ours):
        mixed += [line, "web| sev pdh: AAAA" if number % 3 else "web| -----END SEV CERTIFICATE CHAIN-----"]
    return mixed


def test_session_is_made_from_a_consoles_log(owner, tmp_path: Path) -> None:
    """The last chain in it counts: those before may be of other starts."""
    pdh, earlier = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    chain = chain_of(pdh)
    log = log_of(chain_of(earlier)) + log_of(chain)
    (tmp_path / "console.log").write_bytes("\r\n".join(log).encode() + b"\r\n\x1b[0m\xff")
    owner("session", tmp_path / "console.log", "1", "--name", "web", "--folder", tmp_path)
    godh, blob = (base64.b64decode((tmp_path / f"web_{name}.b64").read_text()) for name in ("godh", "session"))
    firmware_opens(pdh, godh, blob, 1)
    said = owner("export", tmp_path / "console.log", tmp_path / "pdh.chain").stdout
    assert (tmp_path / "pdh.chain").read_bytes() == chain
    assert (
        f"the CEK is as the SEV firmware exports it; signed by AMD: https://kdsintf.amd.com/cek/id/{seq(1, 64).hex()}"
        in said
    )
    assert (
        owner("export", tmp_path / "console.log", tmp_path / "pdh.chain", check=False).returncode == 1
    )  # without --force


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda log: [line for line in log if not line.startswith("sev pdh: ")], "there are no certificates in it"),
        (lambda log: log[:100], "has no end: it was not copied completely"),
        (lambda log: log + log[:100], "has no end: it was not copied completely"),
        (lambda log: log[:50] + log[52:], "is damaged: print it again"),
        (
            lambda log: [line.replace("A", "!") if "-" not in line else line for line in log],
            "is damaged: print it again",
        ),
        (
            lambda log: [f" {line}" for line in log],
            "there are no certificates in it",
        ),  # not at the line's start: a guest could
    ],
)
def test_a_log_without_a_whole_chain_is_refused_in_words(owner, tmp_path: Path, spoil, words: str) -> None:
    log = spoil(log_of(chain_of(key(0x01))))
    (tmp_path / "console.log").write_text("\n".join(log))
    done = owner("export", tmp_path / "console.log", tmp_path / "pdh.chain", check=False)
    assert done.returncode == 1 and words in done.stderr
    assert owner("session", tmp_path / "console.log", "1", "--folder", tmp_path, check=False).returncode == 1
    assert not list(tmp_path.glob("*.b64")) and not (tmp_path / "pdh.chain").exists()
