# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The firmware model against another implementation of its cryptography.

Here python3-cryptography is the guest owner and the auditor: it checks the chain of
certificates from the test ARK to the PDH, opens a session, checks the measurement and
the attestation report, and sends a secret. It is also the platform that a guest is sent
to, and the one that a guest comes from.
"""

import hashlib
import hmac
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sevfw import AT_A, AT_B, AT_C, AT_GUEST, CERT, Firmware

SIGNED = 0x414
ARK, ASK, NO_USAGE, OCA, PEK, PDH, CEK = 0x0000, 0x0013, 0x1000, 0x1001, 0x1002, 0x1003, 0x1004
ECDSA_SHA256, ECDH_SHA256, RSA_SHA384 = 0x2, 0x3, 0x101
API = (1, 55, 31)


@pytest.fixture(scope="session")
def program(built: Callable[..., None], build: Path) -> str:
    built(os.environ.get("BUILD", ".build") + "/unit/firmware/sevfw-tool")
    return str(build / "unit/firmware/sevfw-tool")


@pytest.fixture
def firmware(program: str) -> Iterator[Firmware]:
    tool = Firmware(program)
    yield tool
    tool.close()


MODEL = Path(__file__).resolve().parents[2] / "machine" / "firmware"
MAKE_IMAGE = MODEL / "make_image.py"


def test_image_tool_makes_what_the_firmware_of_that_family_alone_accepts(firmware: Firmware, tmp_path: Path) -> None:
    def download(part: str, expect: str) -> tuple[int, ...]:
        subprocess.run([sys.executable, MAKE_IMAGE, "1.55.40", tmp_path / "image", "--part", part], check=True)
        data = (tmp_path / "image").read_bytes()
        firmware.write(AT_A, data)
        firmware.command("DOWNLOAD_FIRMWARE", struct.pack("<QI", AT_A, len(data)), expect)
        status = firmware.command("PLATFORM_STATUS", bytes(12))
        return status[0], status[1], status[7]

    assert download("genoa", "BAD_SIGNATURE") == API
    assert download("milan", "SUCCESS") == (1, 55, 40)


def word(data: bytes, offset: int) -> int:
    return struct.unpack_from("<I", data, offset)[0]


def public_key(cert: bytes) -> ec.EllipticCurvePublicKey:
    assert word(cert, 0x10) == 2  # P-384
    x, y = (int.from_bytes(cert[at : at + 72], "little") for at in (0x14, 0x5C))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()


def check_ecdsa(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    r, s = (int.from_bytes(signature[at : at + 72], "little") for at in (0, 72))
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))


def slot(cert: bytes, usage: int) -> tuple[int, bytes]:
    """The algorithm and the signature of the slot that `usage` signed."""
    for at in (SIGNED, SIGNED + 0x208):
        if word(cert, at) == usage:
            return word(cert, at + 4), cert[at + 8 : at + 0x208]
    raise AssertionError(f"nobody of usage {usage:#x} signed")


def check_signed(cert: bytes, parent: bytes, usage: int) -> None:
    algo, signature = slot(cert, usage)
    assert algo == ECDSA_SHA256
    check_ecdsa(public_key(parent), signature, cert[:SIGNED])


def check_form(cert: bytes, usage: int, algo: int) -> None:
    assert len(cert) == CERT
    assert (word(cert, 0), word(cert, 8), word(cert, 0xC)) == (1, usage, algo)
    assert tuple(cert[4:6]) == API[:2]
    assert not any(cert[0xA4:SIGNED])


def root_key(cert: bytes, usage: int) -> rsa.RSAPublicKey:
    assert len(cert) == 1600
    assert (word(cert, 0), word(cert, 0x24), word(cert, 0x38), word(cert, 0x3C)) == (1, usage, 4096, 4096)
    exponent, modulus = (int.from_bytes(cert[at : at + 512], "little") for at in (0x40, 0x240))
    assert modulus.bit_length() == 4096
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def check_pss(key: rsa.RSAPublicKey, signature: bytes, data: bytes) -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), salt_length=48)
    key.verify(signature[::-1], data, pss, hashes.SHA384())


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def kdf(key: bytes, label: bytes, context: bytes) -> bytes:
    return mac(key, struct.pack("<I", 1) + label + b"\0" + context + struct.pack("<I", 128))[:16]


def make_cert(key: ec.EllipticCurvePrivateKey, usage: int, algo: int, api: tuple[int, int] = (0, 0)) -> bytes:
    point = key.public_key().public_numbers()
    cert = struct.pack("<IBBHIII", 1, *api, 0, usage, algo, 2)
    cert += point.x.to_bytes(72, "little") + point.y.to_bytes(72, "little")
    return cert.ljust(SIGNED, b"\0") + 2 * struct.pack("<II512x", NO_USAGE, 0)


def sign_cert(cert: bytes, key: ec.EllipticCurvePrivateKey, usage: int) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(cert[:SIGNED], ec.ECDSA(hashes.SHA256())))
    signature = (r.to_bytes(72, "little") + s.to_bytes(72, "little")).ljust(512, b"\0")
    return cert[:SIGNED] + struct.pack("<II", usage, ECDSA_SHA256) + signature + cert[SIGNED + 0x208 :]


class Owner:
    """A guest owner who has got a platform's PDH."""

    def __init__(self, pdh: bytes, policy: int) -> None:
        self.policy, self.tek, self.tik, nonce, iv = policy, *(os.urandom(16) for _ in range(4))
        key = ec.generate_private_key(ec.SECP384R1())
        master = kdf(key.exchange(ec.ECDH(), public_key(pdh)), b"sev-master-secret", nonce)
        wrapped = ctr(kdf(master, b"sev-kek", b""), iv, self.tek + self.tik)
        self.session = nonce + wrapped + iv + mac(kdf(master, b"sev-kik", b""), wrapped)
        self.session += mac(self.tik, struct.pack("<I", policy))
        self.cert = make_cert(key, PDH, ECDH_SHA256)

    def start(self, firmware: Firmware, expect: str = "SUCCESS", command: str = "LAUNCH_START") -> int:
        firmware.write(AT_A, self.cert)
        firmware.write(AT_B, self.session)
        start = struct.pack("<IIQIIQI", 0, self.policy, AT_A, CERT, 0, AT_B, 128)
        return word(firmware.command(command, start, expect), 0)


def check_chain(certs: dict[str, bytes], kds: dict[str, str]) -> None:
    ark, ask, cek = (bytes.fromhex(kds[name]) for name in ("ark", "ask", "cek"))
    ark_key, ask_key = root_key(ark, ARK), root_key(ask, ASK)
    check_pss(ark_key, ark[0x440:], ark[:0x440])
    check_pss(ark_key, ask[0x440:], ask[:0x440])
    assert ask[0x14:0x24] == ark[0x04:0x14] == ark[0x14:0x24]
    algo, signature = slot(cek, ASK)
    assert algo == RSA_SHA384
    check_pss(ask_key, signature, cek[:SIGNED])
    assert cek[:SIGNED] == certs["cek"][:SIGNED]
    check_form(certs["cek"], CEK, ECDSA_SHA256)
    check_form(certs["oca"], OCA, ECDSA_SHA256)
    check_form(certs["pek"], PEK, ECDSA_SHA256)
    check_form(certs["pdh"], PDH, ECDH_SHA256)
    check_signed(certs["oca"], certs["oca"], OCA)
    check_signed(certs["pek"], certs["oca"], OCA)
    check_signed(certs["pek"], cek, CEK)
    check_signed(certs["pdh"], certs["pek"], PEK)


def test_chain_verifies_from_the_ark_to_the_pdh(firmware: Firmware) -> None:
    firmware.bring_up()
    check_chain(firmware.export(), firmware.ask("kds"))


def test_chain_verifies_after_new_keys(firmware: Firmware) -> None:
    firmware.bring_up()
    before = firmware.export()
    for command in ("PEK_GEN", "PDH_GEN"):
        firmware.command(command)
        after = firmware.export()
        assert after["pdh"] != before["pdh"]
        check_chain(after, firmware.ask("kds"))


def test_a_changed_certificate_does_not_verify(firmware: Firmware) -> None:
    firmware.bring_up()
    certs, kds = firmware.export(), firmware.ask("kds")
    certs["pdh"] = certs["pdh"][:5] + bytes([certs["pdh"][5] ^ 1]) + certs["pdh"][6:]
    with pytest.raises(InvalidSignature):
        check_signed(certs["pdh"], certs["pek"], PEK)
    assert firmware.ask("kds") == kds  # the same bytes each time


def test_owner_certificate_signed_elsewhere_is_imported(firmware: Firmware) -> None:
    firmware.bring_up()
    firmware.command("PEK_CSR", struct.pack("<QI", AT_A, CERT))
    csr = firmware.read(AT_A, CERT)
    check_form(csr, PEK, ECDSA_SHA256)
    assert csr[:SIGNED] == firmware.export()["pek"][:SIGNED]
    owner = ec.generate_private_key(ec.SECP384R1())
    oca = sign_cert(make_cert(owner, OCA, ECDSA_SHA256, API[:2]), owner, OCA)
    firmware.write(AT_A, sign_cert(csr, owner, OCA))
    firmware.write(AT_C, oca)
    firmware.command("PEK_CERT_IMPORT", struct.pack("<QIIQI", AT_A, CERT, 0, AT_C, CERT))
    certs = firmware.export()
    assert certs["oca"] == oca
    check_chain(certs, firmware.ask("kds"))
    assert firmware.command("PLATFORM_STATUS", bytes(12))[3] == 1


def test_guest_of_a_python_owner_is_launched_measured_and_attested(firmware: Firmware) -> None:
    firmware.bring_up()
    certs = firmware.export()
    policy = 0x11010021
    owner = Owner(certs["pdh"], policy)
    handle = owner.start(firmware)
    firmware.command("ACTIVATE", struct.pack("<II", handle, 1))
    text = bytes(range(256)) * 48
    firmware.write(AT_GUEST, text)
    firmware.command("LAUNCH_UPDATE_DATA", struct.pack("<IIQI", handle, 0, AT_GUEST, len(text)))
    assert firmware.read(AT_GUEST, 64) != text[:64]
    seen = firmware.ask(f"read-guest 1 {AT_GUEST:#x} {len(text)}")["data"]
    assert bytes.fromhex(seen) == text

    firmware.command("LAUNCH_MEASURE", struct.pack("<IIQI", handle, 0, AT_C, 48))
    output = firmware.read(AT_C, 48)
    digest = hashlib.sha256(text).digest()
    message = bytes([4, *API]) + struct.pack("<I", policy) + digest + output[32:]
    assert output[:32] == mac(owner.tik, message)

    secret, iv = b"only for the guest".ljust(32, b"\0"), os.urandom(16)
    packet = ctr(owner.tek, iv, secret)
    lengths = struct.pack("<II", len(secret), len(packet))
    header = bytes(4) + iv + mac(owner.tik, b"\1" + bytes(4) + iv + lengths + packet + output[:32])
    firmware.write(AT_A, header)
    firmware.write(AT_B, packet)
    inject = struct.pack("<IIQIIQIIQI", handle, 0, AT_A, 52, 0, AT_GUEST + 0x8000, 32, 0, AT_B, 32)
    firmware.command("LAUNCH_SECRET", inject)
    assert bytes.fromhex(firmware.ask(f"read-guest 1 {AT_GUEST + 0x8000:#x} 32")["data"]) == secret
    firmware.command("LAUNCH_FINISH", struct.pack("<I", handle))

    mnonce = os.urandom(16)
    firmware.command("ATTESTATION", struct.pack("<IIQ16sI", handle, 0, AT_C, mnonce, 208))
    report = firmware.read(AT_C, 208)
    assert report[:0x34] == mnonce + digest + struct.pack("<I", policy)
    assert struct.unpack_from("<III", report, 0x34) == (PEK, ECDSA_SHA256, 0)
    check_ecdsa(public_key(certs["pek"]), report[0x40:], report[:0x34])


def test_session_for_a_former_pdh_is_refused(firmware: Firmware) -> None:
    firmware.bring_up()
    owner = Owner(firmware.export()["pdh"], 0)
    firmware.command("PDH_GEN")
    owner.start(firmware, "BAD_MEASUREMENT")


def root_primes() -> dict[str, int]:
    """The test root's, by their names in testkeys.h."""
    text = (MODEL / "testkeys.h").read_text(encoding="ascii")
    arrays = re.findall(r"uint8_t (\w+)\[256\] = \{(.*?)\};", text, re.S)
    return {
        name: int.from_bytes(bytes(int(b, 16) for b in re.findall(r"0x(..)", body)), "big") for name, body in arrays
    }


def rsa_private(p: int, q: int) -> rsa.RSAPrivateKey:
    e = 0x10001
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q))
    return numbers.private_key()


def sign_pss(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA384()), salt_length=48), hashes.SHA384())[::-1]


def root_cert(key: rsa.RSAPrivateKey, usage: int, issuer: rsa.RSAPrivateKey) -> bytes:
    cert = struct.pack("<I16s16sI16xII", 1, b"subject", b"issuer", usage, 4096, 4096)
    cert += (0x10001).to_bytes(512, "little") + key.public_key().public_numbers().n.to_bytes(512, "little")
    return cert + sign_pss(issuer, cert)


class Platform:
    """Another platform, under a root that has these primes, to which guests are sent."""

    def __init__(self, ark: rsa.RSAPrivateKey, ask: rsa.RSAPrivateKey) -> None:
        pek, oca, cek, self.key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(4))
        cek_cert = make_cert(cek, CEK, ECDSA_SHA256)
        by_ask = struct.pack("<II", ASK, RSA_SHA384) + sign_pss(ask, cek_cert[:SIGNED])
        cek_cert = cek_cert[:SIGNED] + by_ask + cek_cert[SIGNED + 0x208 :]
        pek_cert = sign_cert(make_cert(pek, PEK, ECDSA_SHA256), cek, CEK)
        by_cek = pek_cert[SIGNED : SIGNED + 0x208]
        pek_cert = sign_cert(pek_cert, oca, OCA)[: SIGNED + 0x208] + by_cek
        self.pdh = sign_cert(make_cert(self.key, PDH, ECDH_SHA256), pek, PEK)
        self.chain = pek_cert + sign_cert(make_cert(oca, OCA, ECDSA_SHA256), oca, OCA) + cek_cert
        self.amd = root_cert(ask, ASK, ark) + root_cert(ark, ARK, ark)

    def take(self, session: bytes, source: bytes, policy: int) -> None:
        """Opens a session of the platform whose PDH certificate is `source`: keeps its TEK and TIK."""
        nonce, wrapped, iv = session[:16], session[0x10:0x30], session[0x30:0x40]
        master = kdf(self.key.exchange(ec.ECDH(), public_key(source)), b"sev-master-secret", nonce)
        assert session[0x40:0x60] == mac(kdf(master, b"sev-kik", b""), wrapped)
        keys = ctr(kdf(master, b"sev-kek", b""), iv, wrapped)
        self.tek, self.tik = keys[:16], keys[16:]
        assert session[0x60:] == mac(self.tik, struct.pack("<I", policy))


def send_start(firmware: Firmware, handle: int, to: Platform, expect: str = "SUCCESS") -> tuple[int, bytes]:
    """The policy that it tells, and the session."""
    at_amd, at_session = AT_C, AT_C + 0x8000
    for at, data in ((AT_A, to.pdh), (AT_B, to.chain), (at_amd, to.amd), (at_session, bytes(128))):
        firmware.write(at, data)
    places = (AT_A, CERT, 0, AT_B, 3 * CERT, 0, at_amd, 3200, 0, at_session, 128)
    told = firmware.command("SEND_START", struct.pack("<IIQIIQIIQIIQI", handle, 0, *places), expect)
    return word(told, 4), firmware.read(at_session, 128)


def packet_command(handle: int, guest: int, length: int) -> bytes:
    return struct.pack("<IIQIIQIIQI", handle, 0, AT_A, 52, 0, guest, length, 0, AT_B, length)


def running_guest(firmware: Firmware, policy: int, text: bytes) -> int:
    handle = word(firmware.command("LAUNCH_START", struct.pack("<II28x", 0, policy)), 0)
    firmware.command("ACTIVATE", struct.pack("<II", handle, 1))
    firmware.write(AT_GUEST, text)
    firmware.command("LAUNCH_UPDATE_DATA", struct.pack("<IIQI", handle, 0, AT_GUEST, len(text)))
    firmware.command("LAUNCH_MEASURE", struct.pack("<IIQI", handle, 0, AT_C, 48))
    firmware.command("LAUNCH_FINISH", struct.pack("<I", handle))
    return handle


def packet_mac(tik: bytes, header: bytes, data: bytes) -> bytes:
    return mac(tik, b"\2" + header[:20] + struct.pack("<II", len(data), len(data)) + data)


def test_guest_is_sent_to_a_python_platform(firmware: Firmware) -> None:
    firmware.bring_up()
    p = root_primes()
    platform = Platform(rsa_private(p["ark_p"], p["ark_q"]), rsa_private(p["ask_p"], p["ask_q"]))
    text, policy = bytes(range(256)) * 48, 0x11010020
    handle = running_guest(firmware, policy, text)
    told, session = send_start(firmware, handle, platform)
    assert told == policy
    platform.take(session, firmware.export()["pdh"], policy)
    got = b""
    for at, length in ((0, 4096), (4096, 4096), (8192, 16), (8208, 4080)):
        firmware.command("SEND_UPDATE_DATA", packet_command(handle, AT_GUEST + at, length))
        header, data = firmware.read(AT_A, 52), firmware.read(AT_B, length)
        assert header[:4] == bytes(4)
        assert header[20:] == packet_mac(platform.tik, header, data)
        got += ctr(platform.tek, header[4:20], data)
    assert got == text
    firmware.command("SEND_FINISH", struct.pack("<I", handle))


def test_guest_is_received_from_a_python_platform(firmware: Firmware) -> None:
    firmware.bring_up()
    sender = Owner(firmware.export()["pdh"], 0x11010020)
    handle = sender.start(firmware, command="RECEIVE_START")
    firmware.command("ACTIVATE", struct.pack("<II", handle, 1))
    text, iv = bytes(range(255, -1, -1)) * 16, os.urandom(16)
    data = ctr(sender.tek, iv, text)
    header = bytes(4) + iv
    firmware.write(AT_A, header + packet_mac(sender.tik, header, data))
    firmware.write(AT_B, data)
    firmware.command("RECEIVE_UPDATE_DATA", packet_command(handle, AT_GUEST, len(text)))
    assert bytes.fromhex(firmware.ask(f"read-guest 1 {AT_GUEST:#x} {len(text)}")["data"]) == text
    firmware.write(AT_A, header + packet_mac(bytes(16), header, data))
    firmware.command("RECEIVE_UPDATE_DATA", packet_command(handle, AT_GUEST, len(text)), "BAD_MEASUREMENT")
    firmware.command("RECEIVE_FINISH", struct.pack("<I", handle))


def test_a_platform_under_another_root_is_sent_nothing(firmware: Firmware) -> None:
    """A chain that is right in itself: what is wrong is whose it is."""
    firmware.bring_up()
    p = root_primes()
    platform = Platform(rsa_private(p["ark_p"], p["ask_q"]), rsa_private(p["ask_p"], p["ark_q"]))
    handle = running_guest(firmware, 0x20, bytes(4096))
    assert send_start(firmware, handle, platform, "INVALID_CERTIFICATE")[1] == bytes(128)
    firmware.command("SEND_CANCEL", struct.pack("<I", handle), "INVALID_GUEST_STATE")  # it never left RUNNING
