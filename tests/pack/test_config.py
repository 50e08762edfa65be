# SPDX-License-Identifier: BSD-2-Clause-Patent
"""guests.toml: each mistake is answered with the guest, the key, and what to do."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pack import config
from pack.errors import PackError
from pack.manifest import Action, Encryption, Flag, Platform

GOOD = """
[[guest]]
name = "web"
memory = "512M"
encryption = "sev"
image = "image.bin"
"""
PLAIN = GOOD.replace('"sev"', '"none"')
SEV = "\n[guest.sev]\n"
SESSION = SEV + 'dh-cert = "cert.b64"\nsession = "session.b64"\n'
SECRET = SESSION + "require-secret = true\n"
PLATFORM = GOOD + "\n[platform]\n"
FIRMWARE = PLATFORM + 'sev-firmware = "sev.sbin"\nsev-firmware-version = '
NO_VERSION = "platform: sev-firmware-version: must say which version the file is"
SEV_FIRMWARE = bytes(range(200))


@pytest.fixture
def read(tmp_path: Path):
    (tmp_path / "image.bin").write_bytes(b"\xf4")
    (tmp_path / "kernel").write_bytes(b"kernel")
    (tmp_path / "cert.b64").write_text(base64.b64encode(bytes(2084)).decode())
    (tmp_path / "session.b64").write_text(base64.b64encode(bytes(128)).decode() + "\n")
    (tmp_path / "short.b64").write_text(base64.b64encode(bytes(127)).decode())
    (tmp_path / "junk.b64").write_text("not base64!")
    (tmp_path / "sev.sbin").write_bytes(SEV_FIRMWARE)
    (tmp_path / "large.sbin").write_bytes(SEV_FIRMWARE.ljust((1 << 20) + 1))
    (tmp_path / "empty.sbin").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "image.bin").write_bytes(b"\xf4\xf4")

    def read_text(text: str, **variables: str) -> list[config.GuestConfig]:
        (tmp_path / "guests.toml").write_text(text)
        guests, read_text.platform = config.read(tmp_path / "guests.toml", variables)
        return guests

    return read_text


def test_defaults(read, tmp_path: Path) -> None:
    (guest,) = read(GOOD)
    assert (guest.vcpus, guest.pins, guest.cmdline, guest.restarts, guest.memory) == (1, (), "", 0, 512 << 20)
    assert guest.on_poweroff == guest.on_reboot == guest.on_crash == Action.DESTROY
    assert guest.encryption == Encryption.SEV and guest.sev is not None
    assert (guest.sev.policy, guest.sev.cbitpos, guest.sev.reduced_phys_bits) == (1, 51, 1)
    assert guest.image == tmp_path / "image.bin"


def test_session_files_are_base64(read) -> None:
    (guest,) = read(GOOD + SEV + 'dh-cert = "cert.b64"\nsession = "session.b64"')
    assert (guest.sev.dh_cert, guest.sev.session) == (bytes(2084), bytes(128))


def test_variables_in_paths(read, tmp_path: Path) -> None:
    (guest,) = read(GOOD.replace("image.bin", "${WHERE}/image.bin"), WHERE=str(tmp_path / "sub"))
    assert guest.image == tmp_path / "sub" / "image.bin"


def test_the_platform_is_asked_for_nothing_unless_the_file_says_so(read) -> None:
    read(GOOD)
    assert read.platform == Platform(b"", (0, 0, 0), False)
    read(FIRMWARE + '"1.55.29"\nshow-pdh = true')
    assert read.platform == Platform(SEV_FIRMWARE, (1, 55, 29), True)
    read(FIRMWARE + '"0.255.1"')
    assert read.platform == Platform(SEV_FIRMWARE, (0, 255, 1), False)


def test_vcpus_are_pinned_one_by_one_or_not_at_all(read) -> None:
    assert read(PLAIN + "vcpus = 3")[0].pins == ()
    assert read(PLAIN + "vcpus = 3\npins = [0, 1023, 0]")[0].pins == (0, 1023, 0)


def test_what_a_guest_may_do_and_waits_for(read) -> None:
    assert read(GOOD)[0].flags == Flag(0)
    assert read(PLAIN + 'control = true\nserial = "com2"')[0].flags == Flag.CONTROL | Flag.SERIAL_COM2
    assert read(PLAIN + 'control = false\nserial = "virtual"\ndebug = false')[0].flags == Flag(0)
    assert read(PLAIN.replace('"none"', '"host"') + "debug = true")[0].flags == Flag.DEBUG
    assert read(GOOD + "snapshot = true")[0].flags == Flag.SNAPSHOT
    assert read(PLAIN + "snapshot = true\ndebug = true")[0].flags == Flag.SNAPSHOT | Flag.DEBUG
    (guest,) = read(GOOD + SEV + 'session = "at-launch"')
    assert (guest.flags, guest.sev.session, guest.sev.dh_cert) == (Flag.SESSION_AT_LAUNCH, b"", b"")
    assert read(PLAIN.replace("512M", "3840M") + "control = true")[0].memory == 0xF0000000


def test_a_secret_has_a_place(read) -> None:
    kernel = GOOD.replace("image =", "kernel =")
    for text, place in (
        (kernel + SECRET, (None, 4096)),
        (kernel + SECRET + "secret-size = 16384", (None, 16384)),
        (GOOD + SECRET + "secret-address = 0x80d010\nsecret-size = 0xbf0", (0x80D010, 0xBF0)),
        (GOOD + SECRET + "secret-address = 0", (0, 4096)),
    ):
        (guest,) = read(text)
        assert (guest.sev.secret_gpa, guest.sev.secret_size) == place and guest.flags == Flag.REQUIRE_SECRET
    (guest,) = read(kernel + SEV + 'session = "at-launch"\nrequire-secret = true')
    assert guest.flags == Flag.REQUIRE_SECRET | Flag.SESSION_AT_LAUNCH
    (guest,) = read(GOOD + SESSION + "require-secret = false")
    assert (guest.flags, guest.sev.secret_size) == (Flag(0), 0)


@pytest.mark.parametrize("size", ["2M", "1024K".replace("1024", "2048"), "4G", "1T", "6MiB"])
def test_sizes(read, size: str) -> None:
    assert read(GOOD.replace("512M", size))[0].memory % (2 << 20) == 0


ERRORS = {
    "not toml": ("[[guest", "this is not TOML"),
    "no guests": ("", "no [[guest]] table"),
    "guest is a table": ('[guest]\nname = "x"', "no [[guest]] table"),
    "unknown top": (GOOD + "[other]\n", "other: unknown key at the top"),
    "platform is text": ('platform = "a"\n' + GOOD, "platform must be a table"),
    "platform misspelt": (PLATFORM + "show_pdh = true", "platform: show_pdh: unknown key: did you mean show-pdh?"),
    "show-pdh is text": (PLATFORM + 'show-pdh = "yes"', "platform: show-pdh: must be true or false, not 'yes'"),
    "show-pdh is a number": (PLATFORM + "show-pdh = 1", "show-pdh: must be true or false, not 1"),
    "firmware missing": (PLATFORM + 'sev-firmware = "nowhere"', "platform: sev-firmware: there is no file"),
    "firmware empty": (PLATFORM + 'sev-firmware = "empty.sbin"', "empty.sbin is empty"),
    "firmware of no version": (PLATFORM + 'sev-firmware = "sev.sbin"', NO_VERSION),
    "firmware of half a version": (FIRMWARE + '"1.55"', NO_VERSION),
    "firmware of too high a version": (FIRMWARE + '"1.55.256"', NO_VERSION),
    "firmware of version 0": (FIRMWARE + '"0.0.0"', NO_VERSION),
    "firmware of a long version": (FIRMWARE + '"1.55.0029"', NO_VERSION),
    "version without firmware": (
        PLATFORM + 'sev-firmware-version = "1.55.29"',
        "is the version of sev-firmware, which is not there",
    ),
    "firmware large": (PLATFORM + 'sev-firmware = "large.sbin"', "the file has 1048577 bytes: more than 1048576 bytes"),
    "guests are text": ('guest = ["a"]', "guest number 1 must be a table"),
    "misspelt key": (GOOD + 'memry = "1M"', 'guest "web": memry: unknown key: did you mean memory?'),
    "alien key": (GOOD + "zzzzzz = 1", "zzzzzz: unknown key: known keys are"),
    "no name": (GOOD.replace('name = "web"', ""), "guest number 1: name: is missing"),
    "name is a number": (GOOD.replace('"web"', "7"), "name: must be text in quotes"),
    "name with space": (GOOD.replace('"web"', '"my web"'), "name: must have 1 to 31 of"),
    "name too long": (GOOD.replace('"web"', f'"{"w" * 32}"'), "name: must have 1 to 31 of"),
    "name starts with dot": (GOOD.replace('"web"', '".web"'), "start with a letter or digit"),
    "name twice": (GOOD + GOOD, 'guest "web": name: there are 2 guests of this name'),
    "no memory": (GOOD.replace('memory = "512M"', ""), "memory: must be a size"),
    "memory is a number": (GOOD.replace('"512M"', "512"), "memory: must be a size such as"),
    "memory without unit": (GOOD.replace("512M", "512"), "memory: must be a size such as"),
    "memory odd": (GOOD.replace("512M", "513K"), "memory: must be a multiple of 2M"),
    "memory zero": (GOOD.replace("512M", "0M"), "memory: must be a multiple of 2M"),
    "memory huge": (GOOD.replace("512M", "2T"), "memory: 2T is more than 1T"),
    "vcpus zero": (PLAIN + "vcpus = 0", "vcpus: must be between 1 and 64, not 0"),
    "vcpus many": (PLAIN + "vcpus = 65", "vcpus: must be between 1 and 64"),
    "vcpus text": (PLAIN + 'vcpus = "2"', "vcpus: must be a whole number"),
    "vcpus true": (PLAIN + "vcpus = true", "vcpus: must be a whole number"),
    "pins for fewer": (
        PLAIN + "vcpus = 2\npins = [0]",
        "pins: must have one CPU number per vCPU: there are 1, and vcpus = 2",
    ),
    "pins for more": (PLAIN + "pins = [0, 1]", "there are 2, and vcpus = 1"),
    "pins are a number": (PLAIN + "pins = 1", "pins: must be a list of CPU numbers"),
    "pin is text": (PLAIN + 'pins = ["0"]', "pins: must be CPU numbers from 0 to 1023, not '0'"),
    "pin is true": (PLAIN + "pins = [true]", "not True"),
    "pin negative": (PLAIN + "pins = [-1]", "not -1"),
    "pin too high": (PLAIN + "pins = [1024]", "not 1024"),
    "no encryption": (GOOD.replace('encryption = "sev"', ""), "encryption: is missing"),
    "encryption unknown": (
        GOOD.replace('"sev"', '"snp"'),
        'encryption: must be one of "none", "host", "sev", not "snp"',
    ),
    "sev table without sev": (PLAIN + SEV, 'sev: is given, but encryption is "none"'),
    "sev is no table": (GOOD + "sev = 1", "sev must be a table"),
    "sev misspelt": (GOOD + SEV + "polcy = 1", "sev: polcy: unknown key: did you mean policy?"),
    "sev underscore": (GOOD + SEV + "reduced_phys_bits = 1", "did you mean reduced-phys-bits?"),
    "policy es": (GOOD + SEV + "policy = 0x5", "policy: 0x5 demands SEV-ES"),
    "policy reserved": (GOOD + SEV + "policy = 0x41", "policy: 0x41 has reserved bits"),
    "policy big": (GOOD + SEV + "policy = 0x100000000", "policy: must be between"),
    "policy negative": (GOOD + SEV + "policy = -1", "policy: must be between"),
    "cbitpos low": (GOOD + SEV + "cbitpos = 31", "cbitpos: must be between 32 and 51"),
    "cbitpos high": (GOOD + SEV + "cbitpos = 52", "cbitpos: must be between 32 and 51"),
    "cbitpos in memory": (
        GOOD.replace("512M", "8G") + SEV + "cbitpos = 32",
        "cbitpos: the guest's memory reaches bit 32",
    ),
    "reduction zero": (GOOD + SEV + "reduced-phys-bits = 0", "reduced-phys-bits: must be between 1 and 63"),
    "cert alone": (GOOD + SEV + 'dh-cert = "cert.b64"', "session: is missing: dh-cert and session come together"),
    "session alone": (GOOD + SEV + 'session = "session.b64"', "dh-cert: is missing"),
    "session short": (GOOD + SEV + 'session = "short.b64"', "short.b64 holds 127 bytes; a session has 128"),
    "cert is a session": (
        GOOD + SEV + 'dh-cert = "session.b64"',
        "holds 128 bytes; a Diffie-Hellman certificate has 2084",
    ),
    "not base64": (GOOD + SEV + 'session = "junk.b64"', "session:"),
    "not text": (GOOD + SEV + 'session = "image.bin"', "is not base64 text"),
    "no program": (
        GOOD.replace('image = "image.bin"', ""),
        "kernel: is missing: a guest needs a kernel (bzImage) or an image",
    ),
    "kernel and image": (GOOD + 'kernel = "kernel"', "image: a guest has either a kernel or an image"),
    "initrd and image": (GOOD + 'initrd = "kernel"', "initrd: goes with a kernel"),
    "file missing": (GOOD.replace("image.bin", "nowhere.bin"), "image: there is no file"),
    "path is a folder": (GOOD.replace("image.bin", "sub"), "sub is a folder, not a file"),
    "variable unknown": (
        GOOD.replace("image.bin", "${NOPE}/x"),
        "image: ${NOPE} has no value: give one with --set NOPE=",
    ),
    "cmdline with nul": (GOOD + 'cmdline = "a\\u0000b"', "cmdline: must not hold a NUL"),
    "action unknown": (
        PLAIN + 'on_crash = "preserve"',
        'on_crash: must be one of "destroy", "restart", not "preserve"',
    ),
    "restart without number": (PLAIN + 'on_reboot = "restart"', "restarts: is missing"),
    "restarts alone": (PLAIN + "restarts = 3", "restarts: is given, but none of"),
    "restarts negative": (PLAIN + "restarts = -3", "restarts: must be between"),
    "control with sev": (GOOD + "control = true", 'control: the control guest has encryption "host" or "none"'),
    "control large": (PLAIN.replace("512M", "3842M") + "control = true", "control: the control guest has its window"),
    "control twice": (
        PLAIN + "control = true\n" + PLAIN.replace('"web"', '"b"') + "control = true",
        'guest "b": control: guest "web" is the control guest already',
    ),
    "com2 of another": (PLAIN + 'serial = "com2"', 'serial: "com2" is for the control guest only'),
    "com1": (PLAIN + 'control = true\nserial = "com1"', 'serial: must be one of "virtual", "com2", not "com1"'),
    "debug with sev": (GOOD + "debug = true", "debug: is for guests without SEV"),
    "snapshot of one that may not be sent": (
        GOOD + "snapshot = true\n" + SEV + "policy = 9",
        "snapshot: the guest's policy 0x9",
    ),
    "snapshot without debug": (PLAIN + "snapshot = true", "snapshot: of a guest without SEV needs debug = true"),
    "debug is text": (PLAIN + 'debug = "yes"', "debug: must be true or false, not 'yes'"),
    "secret without sev": (PLAIN + SEV + "require-secret = true", 'sev: is given, but encryption is "none"'),
    "secret without session": (GOOD + SEV + "require-secret = true", "require-secret: needs a session"),
    "secret without place": (GOOD + SECRET, "secret-address: is missing: an image has no initrd"),
    "secret odd": (GOOD + SECRET + "secret-address = 8", "secret-address: must be a multiple of 16, not 0x8"),
    "secret size odd": (GOOD + SECRET + "secret-size = 17", "secret-size: must be a multiple of 16, not 0x11"),
    "secret large": (GOOD + SECRET + "secret-size = 16400", "secret-size: must be between 16 and 16384"),
    "secret not required": (GOOD + SESSION + "secret-address = 0", "secret-address: is given, but require-secret"),
    "session twice": (
        GOOD + SEV + 'dh-cert = "cert.b64"\nsession = "at-launch"',
        "dh-cert: comes at the launch, too",
    ),
    "too many guests": (
        "".join(GOOD.replace('"web"', f'"w{i}"') for i in range(513)),
        "there are 513 guests, 512 at most",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_answered_in_words(read, tmp_path: Path, case: str) -> None:
    text, words = ERRORS[case]
    with pytest.raises(PackError) as error:
        read(text)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'guests.toml'}: ")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="No such file"):
        config.read(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "which guests?"),
        (["x.toml"], "give either --efi IN.efi or --manifest-only"),
        (["x.toml", "--manifest-only", "--efi", "a"], "give either"),
        (["x.toml", "--manifest-only"], "where to?"),
        (["--show", "a", "x.toml"], "--show stands alone"),
    ],
)
def test_a_wrong_command_line_is_answered_in_words(pack, words: list[str], answer: str) -> None:
    done = pack(*words, check=False)
    assert done.returncode == 2 and answer in done.stderr


def test_help_teaches(pack) -> None:
    out = pack("--help").stdout
    for word in ("[[guest]]", "encryption", "cbitpos", "session", "--show", "examples:"):
        assert word in out


@pytest.mark.parametrize(
    ("key", "low", "high", "sev"),
    [
        ("vcpus", 1, 64, False),
        ("policy", 0, 0xFFFF003B, True),
        ("cbitpos", 32, 51, True),
        ("reduced-phys-bits", 1, 63, True),
    ],
)
def test_limits_are_inclusive(read, key: str, low: int, high: int, sev: bool) -> None:
    text = GOOD + (SEV if sev else "")
    for value in (low, high):
        (guest,) = read(f"{text}{key} = {value}\n")
        assert getattr(guest.sev if sev else guest, key.replace("-", "_")) == value
    for value in (low - 1, high + 1 if key != "policy" else 1 << 32):
        with pytest.raises(PackError, match=key):
            read(f"{text}{key} = {value}\n")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("w" * 31, True), ("w" * 32, False), ("9", True), ("a.-_Z", True), ("-a", False), ("a/b", False)],
)
def test_names(read, name: str, taken: bool) -> None:
    if taken:
        assert read(GOOD.replace('"web"', f'"{name}"'))[0].name == name
    else:
        with pytest.raises(PackError, match="name: must have 1 to 31"):
            read(GOOD.replace('"web"', f'"{name}"'))


def test_as_many_guests_as_a_manifest_takes(read) -> None:
    assert len(read("".join(PLAIN.replace('"web"', f'"w{i}"') for i in range(512)))) == 512


def test_memory_may_end_at_the_c_bit_but_not_beyond(read) -> None:
    assert read(GOOD.replace("512M", "4G") + SEV + "cbitpos = 32")[0].memory == 1 << 32
    with pytest.raises(PackError, match="memory reaches bit 32"):
        read(GOOD.replace("512M", "4098M") + SEV + "cbitpos = 32")
