# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Whatever a person gives the tools: one sentence that names the file or key, the documented exit status, no traceback."""

from __future__ import annotations

import base64
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from owner import certificate

ROOT = Path(__file__).resolve().parents[2]
PACK, OWNER = ROOT / "guest" / "pack.py", ROOT / "guest" / "owner.py"
IMAGE, RUN = ROOT / "tests" / "system" / "image.py", ROOT / "tests" / "system" / "run.py"
MACHINE, FETCH = ROOT / "tests" / "machine" / "build", ROOT / "guest" / "linux" / "fetch-kernel"
INITRAMFS, VOLUME = ROOT / "guest" / "linux" / "make-initramfs", ROOT / "guest" / "linux" / "make-volume"
TOOLS = (PACK, OWNER, IMAGE, RUN, MACHINE, FETCH, INITRAMFS, VOLUME)
NAME = os.fsdecode(b"caf\xe9 \xff")  # a file's name that is no UTF-8: a surrogate each
TIK = ["--tik", "00" * 16, "--api-major", "1", "--api-minor", "55", "--build-id", "31"]

GUEST = '[[guest]]\nname = "web"\nmemory = "16M"\nencryption = "sev"\nimage = "image.bin"\n'
SEV = "[guest.sev]\n"


def start(*words: object, **more) -> subprocess.CompletedProcess:
    """A tool, as a person starts it."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600, **more,
    )  # fmt: skip


def check_refusal(done: subprocess.CompletedProcess, status: int, *words: str) -> None:
    assert "Traceback" not in done.stderr and "Error:" not in done.stderr.replace("error: ", ""), done.stderr
    assert done.returncode == status, done
    for word in words:
        assert word in done.stderr, done.stderr
    if status == 1:
        assert done.stderr.count("\n") == 1 and len(done.stderr) < 1500, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "image.bin").write_bytes(b"\xf4" * 100)
    (tmp_path / "guests.toml").write_text(GUEST)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 5 << 30)
    (tmp_path / "2MiB").write_bytes(b"x" * (2 << 20))
    (tmp_path / "pdh").write_bytes(certificate.encode(ec.generate_private_key(ec.SECP384R1()).public_key()))
    (tmp_path / "manifest").write_bytes(b"")
    assert start(PACK, tmp_path / "guests.toml", "--manifest-only", "-q", "-o", tmp_path / "manifest").returncode == 0
    return tmp_path


# ---------------------------------------------------------------- guests.toml


TEXTS: dict[str, tuple[bytes | str, str]] = {
    "deep": ("a = " + "[" * 100_000, "nested too deeply"),
    "deep tables": ("a = " + "{a = " * 100_000, "nested too deeply"),
    "digits": (GUEST + "vcpus = " + "9" * 5000, "a number in it has thousands of digits"),
    "hexadecimal digits": (GUEST + "vcpus = 0x" + "f" * 50_000, "vcpus: must be between 1 and 64, not a number of 200000 bits"),
    "digits in a list": (GUEST + "pins = [0x" + "f" * 50_000 + "]", "pins: must be CPU numbers from 0 to 1023, not a number of"),
    "digits in a wrong place": (GUEST + "cmdline = [0x" + "f" * 50_000 + "]", "cmdline: must be text in quotes, not that"),
    "much text": (GUEST + f'restarts = "{"x" * 10_000}"', "restarts: must be a whole number"),
    "memory's digits": (GUEST.replace("16M", "9" * 5000 + "M"), "memory: must be a size"),
    "memory in other digits": (GUEST.replace("16M", "\u0661M"), "memory: must be a size"),
    "a long key": (GUEST + "k" * 100_000 + " = 1", "unknown key"),
    "a key with a newline": (GUEST + '"a\\nb" = 1', "unknown key"),
    "a key with NUL": (GUEST + '"a\\u0000b" = 1', "unknown key"),
    "key twice": (GUEST + 'name = "x"', "this is not TOML"),
    "table twice": (GUEST + SEV + SEV, "this is not TOML"),
    "name with a newline": (GUEST.replace('"web"', '"a\\nb"'), "guest number 1: name: must have 1 to 31"),
    "name of thousands": (GUEST.replace('"web"', f'"{"n" * 9999}"'), "guest number 1: name: must have 1 to 31"),
    "not UTF-8": (GUEST.encode() + b'cmdline = "caf\xe9"', "line 6 is not UTF-8 text"),
    "UTF-16": (GUEST.encode("utf-16"), "the text is UTF-16: save it as UTF-8"),
    "binary": (bytes(range(256)) * 10, "is not UTF-8"),
    "NUL": (GUEST + "\0", "this is not TOML"),
    "file name with NUL": (GUEST.replace("image.bin", "a\\u0000b"), "image: must not hold a NUL"),
    "file name empty": (GUEST.replace("image.bin", ""), "image: is empty: name a file"),
    "file name too long": (GUEST.replace("image.bin", "n" * 300), "image: must be the name of a file, not its content"),
    "file below a file": (GUEST.replace("image.bin", "image.bin/x"), "image: there is no file"),
    "a folder": (GUEST.replace("image.bin", "folder"), "folder is a folder, not a file"),
    "a device": (GUEST.replace("image.bin", "/dev/zero"), "image: /dev/zero: this is a device"),
    "an empty image": (GUEST.replace("image.bin", "empty"), "image: the file is empty"),
    "an empty kernel": (GUEST.replace("image", "kernel").replace("kernel.bin", "empty"), "not a bzImage"),
    "base64 for a file": (
        GUEST + SEV + f'dh-cert = "{base64.b64encode(bytes(2084)).decode()}"',
        "dh-cert: must be the name of a file, not its content",
    ),
    "base64 with slashes for a file": (
        GUEST + SEV + f'session = "{base64.b64encode(bytes(range(256))).decode()}"',
        "session: must be the name of a file, not its content",
    ),
    "an empty certificate": (GUEST + SEV + 'dh-cert = "empty"', "holds 0 bytes; a Diffie-Hellman certificate has 2084"),
    "a huge file": ("# " + "x" * (5 << 20), "which is too much"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_a_mistake_in_guests_toml_is_told_in_one_sentence(folder: Path, case: str) -> None:
    text, words = TEXTS[case]
    (folder / "guests.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "out").write_bytes(b"before")
    done = start(PACK, folder / "guests.toml", "--manifest-only", "-o", folder / "out")
    check_refusal(done, 1, f"pack.py: {folder / 'guests.toml'}: ", words)
    assert (folder / "out").read_bytes() == b"before" and not done.stdout


@pytest.mark.parametrize(
    "key", ["encryption", "kernel", "initrd", "image", "on_poweroff", "on_reboot", "on_crash", "dh-cert", "session"]
)
def test_what_a_file_of_guests_holds_does_nothing_to_a_terminal(folder: Path, key: str) -> None:
    text = (
        GUEST.replace('encryption = "sev"', "").replace('image = "image.bin"', "")
        if key in ("encryption", "image")
        else GUEST
    )
    value = "\\u001b[2Jred\\nline\\u0007\\u009b\\u202e"
    (folder / "guests.toml").write_text(text + (SEV if key in ("dh-cert", "session") else "") + f'{key} = "{value}"\n' + (
        'encryption = "none"\n' if key == "image" else ""))  # fmt: skip
    done = start(PACK, folder / "guests.toml", "--manifest-only", "-o", folder / "out")
    check_refusal(done, 1, f"{key}: ", r"\x1b[2Jred\nline\x07\x9b\u202e")
    assert done.stderr.removesuffix("\n").isprintable()


def test_a_name_on_the_command_line_does_nothing_to_a_terminal(folder: Path) -> None:
    done = start(PACK, folder / "\x1b[2J.toml", "--manifest-only", "-o", folder / "out")
    check_refusal(done, 1, r"\x1b[2J.toml: No such file")
    assert "\x1b" not in done.stderr


def test_an_empty_initrd_is_not_no_initrd(folder: Path, debian_kernel: Path, samples: Path) -> None:
    text = GUEST.replace("16M", "256M").replace('image = "image.bin"', f'kernel = "{debian_kernel}"\ninitrd = "empty"')
    (folder / "guests.toml").write_text(text)
    words = [PACK, folder / "guests.toml", "--dsdt", samples / "dsdt.aml", "--manifest-only", "-o", folder / "out"]
    check_refusal(start(*words), 1, f'guest "web": initrd: the file {folder / "empty"} is empty')
    (folder / "guests.toml").write_text(text.replace('initrd = "empty"', ""))
    assert start(*words).returncode == 0


def test_a_byte_order_mark_and_other_newlines_are_no_mistake(folder: Path) -> None:
    """What editors of another system write."""
    for name, size in (("cert.b64", 2084), ("session.b64", 128)):
        text = base64.encodebytes(bytes(size)).replace(b"\n", b"\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text)
    text = GUEST + SEV + 'dh-cert = "cert.b64"\nsession = "session.b64"\n'
    outputs = []
    for form in (text.encode(), b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()):
        (folder / "guests.toml").write_bytes(form)
        assert start(PACK, folder / "guests.toml", "--manifest-only", "-o", folder / "out").returncode == 0
        outputs.append((folder / "out").read_bytes())
    assert outputs[0] == outputs[1]


# ---------------------------------------------------------------- command lines


def command_lines(folder: Path) -> dict[str, tuple[list[object], int, str]]:
    toml, packed, pdh = folder / "guests.toml", folder / "manifest", folder / "pdh"
    long = "A" * 5000
    pack = [PACK, toml, "--manifest-only", "-o"]
    measure = [OWNER, "measurement", "build", packed, "web"]
    session = [OWNER, "session", pdh, "1", "--folder", folder]
    secret = [OWNER, "secret", "build", *TIK[:2], "--tek", "00" * 16, "--launch-measure-blob", "00" * 48]
    rows: list[tuple[list[object], int, str]] = [
        ([PACK], 2, "which guests?"),
        ([PACK, folder / "none.toml", "--manifest-only", "-o", folder / "x"], 1, "none.toml: No such file"),
        ([PACK, folder, "--manifest-only", "-o", folder / "x"], 1, "this is a folder, not a file"),
        ([PACK, "/dev/zero", "--manifest-only", "-o", folder / "x"], 1, "/dev/zero: this is a device"),
        ([PACK, long, "--manifest-only", "-o", folder / "x"], 1, "File name too long"),
        ([PACK, NAME, "--manifest-only", "-o", folder / "x"], 1, "No such file"),
        ([PACK, toml, "--efi", folder / "none.efi", "-o", folder / "x"], 1, "none.efi: No such file"),
        ([PACK, toml, "--efi", toml, "-o", folder / "x"], 1, "guests.toml: this is not an EFI file"),
        ([PACK, toml, "--efi", folder / "empty", "-o", folder / "x"], 1, "empty: this is not an EFI file"),
        ([PACK, toml, "--efi", folder / "huge", "-o", folder / "x"], 1, "huge: the file has 5368709120 bytes: more than"),
        ([*pack, folder], 1, "this is a folder"),
        ([*pack, ""], 1, "this is a folder"),
        ([*pack, folder / long], 1, "File name too long"),
        ([*pack, folder / NAME / "x"], 1, "No such file"),
        ([*pack, "/dev/full"], 1, "/dev/full: No space left on device"),
        ([*pack, folder / "x", "--set", "BUILD"], 1, "--set BUILD: must be NAME=VALUE"),
        ([PACK, "--show", folder / "none"], 1, "none: No such file"),
        ([PACK, "--show", folder / "empty"], 1, "empty: this is not a manifest"),
        ([PACK, "--show", folder / NAME], 1, "No such file"),
        ([OWNER, "session", base64.b64encode(pdh.read_bytes()).decode(), "1"], 1, "..."),
        ([OWNER, "session", folder, "1"], 1, "this is a folder"),
        ([OWNER, "session", folder / "empty", "1"], 1, "empty: this is not a SEV certificate"),
        ([OWNER, "session", "/dev/zero", "1"], 1, "this is a device"),
        ([OWNER, "session", pdh, "9" * 5000], 2, "is not a number from 0 to 0xffffffff"),
        ([OWNER, "session", pdh, "\u0661"], 2, "is not a number"),
        ([OWNER, "session", pdh, "-1"], 2, "policy"),
        ([*session, "--folder", folder / "none"], 1, "none/vm_tik.bin: No such file"),
        ([*session, "--folder", folder / "empty"], 1, "Not a directory"),
        ([*session, "--name", "n" * 300], 1, "File name too long"),
        ([OWNER, "measurement", "build", folder / "empty", "web", *TIK, "--nonce", "00" * 16], 1, "empty: this is not a manifest"),
        ([OWNER, "measurement", "build", folder, "web", *TIK, "--nonce", "00" * 16], 1, "this is a folder"),
        ([*measure, *TIK, "--nonce", "A" * 24], 1, "--nonce: 18 bytes instead of 16"),
        ([*measure, *TIK, "--nonce", long], 1, "--nonce: 3750 bytes instead of 16"),
        ([*measure, *TIK, "--nonce", "caf\u00e9"], 1, "--nonce: caf\u00e9 is neither a file, nor base64"),
        ([*measure, *TIK, "--nonce", NAME], 1, "--nonce: "),
        ([*measure, *TIK, "--nonce", folder], 1, "this is a folder"),
        ([*measure, *TIK, "--nonce", folder / "none.bin"], 1, "none.bin: No such file"),
        ([*measure, *TIK, "--nonce", "none.bin"], 1, "none.bin: No such file"),
        ([*measure, *TIK, "--nonce", ""], 1, "--nonce"),
        ([*measure, *TIK, "--nonce", "00", "--api-minor", "\u00b2"], 2, "is not a number"),
        ([*measure, *TIK, "--nonce", "00", "--api-major", "9" * 5000], 2, "is not a number"),
        ([*measure, *TIK, "--nonce", "00", "--build-id", "256"], 2, "is not a number from 0 to 0xff"),
        ([*measure[:3], packed, *TIK, "--nonce", "00"], 2, "which launch? give PACKED and GUEST"),
        ([*measure, *TIK, "--nonce", "00", "--launch-digest", "00" * 32], 2, "which launch?"),
        ([*measure[:3], *TIK, "--nonce", "00" * 16, "--launch-digest", "00" * 32], 2, "--policy is missing"),
        ([*secret, "--plain", folder / "empty", folder / "h", folder / "p"], 1, "the secret is empty"),
        ([*secret, "--plain", folder / "huge", folder / "h", folder / "p"], 1, "huge: the file has 5368709120 bytes"),
        ([*secret, folder / "h", folder / "p"], 2, "one of the arguments --file --secret --plain is required"),
        ([*secret, "--file", "a/b:x", folder / "h", folder / "p"], 2, "is not NAME:FILE"),
        ([*secret, "--secret", "736869e5:x", folder / "h", folder / "p"], 2, "is not GUID:FILE"),
        ([*secret, "--file", f"k:{toml}", "--file", f"k:{pdh}", folder / "h", folder / "p"], 1, "a name is given twice"),
        ([*secret, "--plain", toml, folder / "h", folder / "h"], 1, "header and payload are two files"),
        ([*secret, "--plain", toml, folder / "empty", folder / "p"], 1, "exists already; --force overwrites"),
        ([OWNER, "verify", folder / "empty"], 1, "there are no certificates in it"),
        ([OWNER, "verify", packed], 1, "manifest: there are no certificates in it"),
        ([OWNER, "attestation", "verify", packed, pdh, packed, "web"], 2, "--mnonce"),
        ([IMAGE, folder / "x"], 2, "nothing to put on the volume"),
        ([IMAGE, folder / "x", "--boot", folder / "none"], 1, "none: No such file"),
        ([IMAGE, folder / "x", "--boot", folder], 1, f"{folder}: this is a folder"),
        ([IMAGE, folder / "x", "--boot", toml], 1, "guests.toml: this is not an EFI file"),
        ([IMAGE, folder / "x", "--boot", packed], 1, "manifest: this is not an EFI file"),
        ([IMAGE, folder / "x", "--boot", "/dev/null"], 1, "/dev/null: this is a device"),
        ([IMAGE, folder / "x", "--boot", folder / "huge"], 1, "huge: the file has 5368709120 bytes: more than"),
        ([IMAGE, folder / "x", "--file", f"a={folder}"], 1, f"{folder}: Is a directory"),
        ([IMAGE, folder / "x", "--file", "a=/dev/null"], 1, "/dev/null: this is a device"),
        ([IMAGE, folder / "x", "--file", f"a={folder / 'huge'}"], 1, "a FAT volume takes 4294967295 at most"),
        ([IMAGE, folder, "--file", f"a={toml}"], 1, "this is a folder"),
        ([IMAGE, folder / "x", "--file", "x"], 2, "PATH-ON-THE-VOLUME=FILE"),
        ([IMAGE, folder / "x", "--file", f"../x={toml}"], 2, "PATH-ON-THE-VOLUME=FILE"),
        ([IMAGE, folder / "x", "--boot", toml, "--file", f"efi/boot/bootx64.efi={toml}"], 2, "on the volume twice"),
        ([IMAGE, folder / "x", "--file", f"a={toml}", "--file", f"a={toml}"], 2, "on the volume twice"),
        ([RUN, "--image", folder / "none"], 1, "none: `make image` makes it"),
        ([RUN, "--image", folder], 1, "`make image` makes it"),
        ([RUN, "--image", toml], 1, "guests.toml: this is no image that image.py made"),
        ([RUN, "--efi", folder / "none"], 1, "none: No such file"),
        ([RUN, "--efi", toml], 1, "guests.toml: this is not an EFI file"),
        ([RUN, "--efi", packed], 1, "manifest: this is not an EFI file"),
        ([RUN, "--guests", folder / "none"], 1, "none: No such file"),
        ([RUN, "--trace", folder / "none" / "x"], 1, "no such folder"),
        ([RUN, "--time-limit", "nan"], 2, "nan is not a number of seconds"),
        ([RUN, "--time-limit", "-1"], 2, "time-limit"),
        ([MACHINE, "--jobs", "0"], 2, "'0' is not a number of jobs"),
        ([MACHINE, "--jobs", "9" * 5000], 2, "is not a number of jobs"),
        ([MACHINE, "--firmware", folder / "none"], 1, "none: No such file"),
        ([INITRAMFS, "-o", folder / "x", "--busybox", folder / "none"], 1, "none: No such file"),
        ([INITRAMFS, "-o", folder / "x", folder], 1, "this is a folder"),
        ([INITRAMFS, "-o", folder / "x", folder / "none"], 1, "none: No such file"),
        ([INITRAMFS, "-o", folder], 1, "this is a folder"),
        ([INITRAMFS, "-o", folder / "x", "a/sh"], 2, "/bin/sh would be there twice"),
        ([INITRAMFS, "-o", folder / "x", "--file", f"init:{toml}"], 2, "/init is there already"),
        ([INITRAMFS, "-o", folder / "x", "--file", f"bin:{toml}"], 2, "/bin is there already"),
        ([INITRAMFS, "-o", folder / "x", "--file", f"init/a:{toml}"], 2, "/init/a is there already, or its folder is a file"),
        ([INITRAMFS, "-o", folder / "x", "--file", f"a/b:{toml}", "--file", f"a:{pdh}"], 2, "/a is there already"),
        ([INITRAMFS, "-o", folder / "x", "--file", f"a:{toml}", "--file", f"a:{pdh}"], 2, "/a is there already"),
        ([VOLUME, "--key", folder / "k", "-o", folder / "x", folder / "none"], 1, "none: No such file"),
        ([VOLUME, "--key", folder / "k", "-o", folder / "x", folder], 1, "this is a folder"),
        ([VOLUME, "--key", folder / "k", "-o", folder / "x", packed, folder / "folder" / "manifest"], 2, "in the volume twice"),
        ([VOLUME, "--key", folder / "k", "-o", folder / "k", toml], 2, "key and volume are two files"),
        ([VOLUME, "--key", folder / "empty", "-o", folder / "x", toml], 1, "empty: the key has 0 bytes"),
        ([VOLUME, "--key", folder, "-o", folder / "x", toml], 1, "this is a folder"),
        ([VOLUME, "--key", "/dev/zero", "-o", folder / "x", toml], 1, "/dev/zero: this is a device"),
        ([VOLUME, "--key", folder / "huge", "-o", folder / "x", toml], 1, "huge: the file has 5368709120 bytes"),
        ([VOLUME, "--key", folder / "k", "-o", folder / "x", "--size", "1", folder / "2MiB"], 1, "mke2fs failed"),
    ]  # fmt: skip
    return {f"{Path(row[0][0]).name}-{i}": row for i, row in enumerate(rows)}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_mistake_on_the_command_line_is_told_in_one_sentence(folder: Path, tool: Path) -> None:
    for name, (words, status, answer) in command_lines(folder).items():
        if words[0] == tool:
            print(name, words)
            before = sorted(folder.iterdir())
            check_refusal(
                start(*words, cwd=folder, env=os.environ | {"SEVISOR_CACHE": str(cache_like(folder, tool))}),
                status,
                answer,
            )
            assert sorted(folder.iterdir()) == before  # nothing was written


def cache_like(folder: Path, tool: Path) -> Path:
    """A cache that never makes the SEV machine's build download anything: what it would download is there, by name."""
    cache = folder.parent / f"{folder.name}-cache"
    if tool == MACHINE:
        (cache / "downloads").mkdir(parents=True, exist_ok=True)
        (cache / "downloads" / "manifest.json").write_text('{"qemu": "qemu_10.dsc"}')
    return cache


@pytest.mark.parametrize("tool", [MACHINE, FETCH], ids=lambda tool: tool.name)
@pytest.mark.parametrize("cache", ["/dev/null/x", "/proc/none"])
def test_a_cache_that_cannot_be_is_named(tool: Path, cache: str) -> None:
    done = start(tool, env=os.environ | {"SEVISOR_CACHE": cache})
    assert "Traceback" not in done.stderr and done.returncode == 1 and cache in done.stderr


def test_qemu_is_not_built_below_a_space(tmp_path: Path) -> None:
    done = start(MACHINE, env=os.environ | {"SEVISOR_CACHE": str(tmp_path / "a b")})
    check_refusal(done, 1, "a space or a colon", "let SEVISOR_CACHE name another folder")
    assert not (tmp_path / "a b").exists()


def test_a_damaged_list_of_downloads_is_named(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    for text in ("", "[]", "{", "7"):
        (tmp_path / "downloads" / "manifest.json").write_text(text)
        done = start(MACHINE, env=os.environ | {"SEVISOR_CACHE": str(tmp_path)})
        check_refusal(done, 1, "manifest.json is damaged: delete")


# ---------------------------------------------------------------- what is around a tool


@pytest.mark.parametrize(
    ("tool", "module", "words"),
    [(PACK, "tomllib", "Python 3.11"), (OWNER, "cryptography", "python3-cryptography"),
     (VOLUME, "cryptography", "python3-cryptography")],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_what_python_lacks_is_named(tmp_path: Path, tool: Path, module: str, words: str) -> None:
    """On a machine where nobody has run `make setup`, such as an owner's desk."""
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError({module!r})\n")
    check_refusal(start(tool, "--help", env=os.environ | {"PYTHONPATH": str(tmp_path)}), 1, words)


def test_a_log_of_the_console_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    """As other systems' terminals and redirections write it: the certificates are found, here the first line of them."""
    text = "sev pdh: -----BEGIN SEV CERTIFICATE CHAIN-----\r\nsev pdh: AAAA\r\n"
    for coding in ("ascii", "utf-8-sig", "utf-16"):
        (tmp_path / "log").write_bytes(text.encode(coding))
        for words in ([OWNER, "verify", tmp_path / "log"], [OWNER, "session", tmp_path / "log", "1"]):
            check_refusal(start(*words), 1, "log: the last SEV CERTIFICATE CHAIN in it has no end")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_help_teaches_its_exit_status_and_ends_quietly(tool: Path) -> None:
    done = start(tool, "--help")
    assert done.returncode == 0 and not done.stderr and len(done.stdout) > 300
    for command in ('"$0" "$1" --help | head -n 1', '"$0" "$1" --help | true'):
        done = subprocess.run(["bash", "-c", command, sys.executable, tool], capture_output=True, text=True)
        assert not done.stderr, done.stderr


def test_what_cannot_be_shown_ends_no_machine(tmp_path: Path) -> None:
    """run.py with a full disk behind it: the machine's words are lost, which the verdict says."""
    code = """
import sys, types
sys.path[:0] = sys.argv[1:]
import run
machine = types.SimpleNamespace(console=types.SimpleNamespace(lines=[run.FINAL_LINE]))
assert run.verdict(machine, "guest-shutdown", True) == ""
run.show(b"some words")
run.show(b"and more")
assert run.verdict(machine, "guest-shutdown", True) == "standard output: No space left on device"
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, RUN.parent, ROOT / "guest"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["| head -n 1", "| true", "| { read -r line; echo $line; }", ">&-", "<&- >&- 2>&-"])
def test_nobody_need_read_to_the_end(folder: Path, command: str) -> None:
    """More output than a pipe holds."""
    text = "".join(GUEST.replace('"web"', f'"web{i}"') for i in range(120))
    (folder / "many.toml").write_text(text)
    words = ["bash", "-c", f'set -o pipefail; "$@" {command}', "-", sys.executable]
    packing = [PACK, folder / "many.toml", "--manifest-only", "-o", folder / "many"]
    for tool in (packing, [PACK, "--show", folder / "many"]):
        done = subprocess.run([*words, *map(str, tool)], capture_output=True, text=True, timeout=600)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_the_output_is_an_error(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, PACK, "--show", folder / "manifest"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr == "pack.py: standard output: No space left on device\n"


def test_the_verdict_stands_though_nobody_reads_it(folder: Path) -> None:
    words = [OWNER, "measurement", "verify", folder / "manifest", "web", *TIK, "--launch-measure-blob", "00" * 48]
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | true', "-", sys.executable, *map(str, words)], capture_output=True
    )
    assert done.returncode == 1 and not done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_names_that_are_no_utf8_are_told_in_any_locale(folder: Path, locale: str) -> None:
    """As long as the file is there, packing works; its name is shown somehow."""
    (folder / NAME).write_text(GUEST)
    environment = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = start(PACK, os.fsencode(folder / NAME).decode("utf-8", "surrogateescape"), "--manifest-only", "-o", folder / f"out{NAME}",
                 env=environment)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (folder / NAME).write_text("guest")
    check_refusal(
        start(PACK, folder / NAME, "--manifest-only", "-o", folder / "out", env=environment), 1, "this is not TOML"
    )


@pytest.mark.root
def test_what_another_user_keeps_closed_is_named(folder: Path) -> None:
    """The tools are copied, since nobody may enter a home."""
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "image.bin").write_bytes(b"x")
    (folder / "secret").write_bytes(b"x")
    (folder / "secret").chmod(0o600)
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o777)
    (folder / "shared" / "theirs").write_bytes(b"before")
    nobody = dict(user=65534, group=65534, extra_groups=[])
    for part in folder.parents:
        if part.stat().st_uid == 0 and part != Path("/tmp") and str(part).startswith("/tmp/pytest-"):
            part.chmod(part.stat().st_mode | 0o055)
    folder.chmod(0o755)
    for part in (Path("guest"), Path("tests/system")):
        shutil.copytree(ROOT / part, folder / "copy" / part, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", folder / "copy"], check=True)
    pack, owner, image = (folder / "copy" / tool.relative_to(ROOT) for tool in (PACK, OWNER, IMAGE))
    guests = folder / "closed.toml"
    for name, words in (("closed/image.bin", "Permission denied"), ("secret", "Permission denied")):
        guests.write_text(GUEST.replace("image.bin", name))
        done = start(pack, guests, "--manifest-only", "-o", folder / "shared" / "x", **nobody)
        check_refusal(done, 1, "image", name, words)
    for output, words in (
        ("x", "Permission denied"),
        ("shared/theirs", "you may not write it"),
        ("closed/x", "Permission denied"),
    ):
        done = start(pack, folder / "guests.toml", "--manifest-only", "-o", folder / output, **nobody)
        check_refusal(done, 1, f"{folder / output}: ", words)
        check_refusal(
            start(image, folder / output, "--file", f"a={folder / 'image.bin'}", **nobody),
            1,
            f"{folder / output}: ",
            words,
        )
    check_refusal(start(owner, "session", folder / "pdh", "1", "--folder", folder, **nobody), 1, "Permission denied")
    check_refusal(start(owner, "session", folder / "closed" / "pdh", "1", **nobody), 1, "Permission denied")
    assert (folder / "shared" / "theirs").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("tool", "number"),
    [("pack.py", signal.SIGINT), ("pack.py", signal.SIGTERM), ("image.py", signal.SIGHUP), ("owner.py", signal.SIGINT),
     ("owner.py", signal.SIGTERM), ("owner.py", signal.SIGHUP)],
)  # fmt: skip
def test_a_signal_ends_a_tool_without_a_trace(folder: Path, tool: str, number: signal.Signals) -> None:
    """Ctrl-C, kill, or the end of the terminal, while it waits for a FIFO that nobody reads. The tests themselves may run
    where these are ignored (nohup, a script's background)."""
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "vm_tik.bin")
    words = {
        "pack.py": [PACK, folder / "guests.toml", "--manifest-only", "-o", folder / "fifo"],
        "image.py": [IMAGE, folder / "fifo", "--file", f"a={folder / 'image.bin'}"],
        "owner.py": [OWNER, "session", folder / "pdh", "1", "--folder", folder, "--force"],
    }[tool]
    scratch = folder / "scratch"
    scratch.mkdir()
    before = sorted(folder.iterdir())
    with subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                          env=os.environ | {"TMPDIR": str(scratch)},
                          preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not list(scratch.iterdir()) and time.monotonic() < deadline:  # until the bytes for the FIFO are collected
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        try:
            _, said = process.communicate(timeout=600)
        finally:
            process.kill()
    assert (process.returncode, said) == (128 + number, f"{tool}: interrupted\n")
    assert sorted(folder.iterdir()) == before and not list(scratch.iterdir())


# ---------------------------------------------------------------- at random


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mutated(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, kind = chance.randrange(len(out) + 1), chance.randrange(6)
        some = chance.choice([b"\0", b"\xff", b"\n", b'"', b"[", b"]]", b"{", b"=", b"9" * 5000, b"\xef\xbb\xbf", b"-1", b"0x", b"../", b"${",
                              b"\\u0000", b"1979-05-27", b"inf", b"true", b"'''", chance.randbytes(3)])  # fmt: skip
        if kind == 0:
            del out[at : at + chance.choice([1, 2, 10, 100])]
        elif kind == 1:
            out[at:at] = some
        elif kind == 2:
            out[at : at + len(some)] = some
        elif kind == 3 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif kind == 4:
            out[at:at] = out[chance.randrange(len(out) + 1) :][:200]
        else:
            out = out[:at]
    return bytes(out)


INPUTS: dict[str, Callable[[Path], list[object]]] = {
    "guests.toml": lambda f: [PACK, f / "guests.toml", "--manifest-only", "-o", f / "out"],
    "session.b64": lambda f: [PACK, f / "guests.toml", "--manifest-only", "-o", f / "out"],
    "packed.efi": lambda f: [PACK, f / "guests.toml", "--efi", f / "packed.efi", "-o", f / "out"],
    "manifest": lambda f: [PACK, "--show", f / "manifest"],
    "pdh": lambda f: [OWNER, "session", f / "pdh", "1", "--folder", f / "folder", "--force"],
    "answer": lambda f: [
        OWNER,
        "measurement",
        "verify",
        f / "manifest",
        "web",
        *TIK,
        "--launch-measure-blob",
        f / "answer",
    ],
}


@pytest.mark.parametrize("name", INPUTS)
def test_no_input_ends_in_a_traceback(folder: Path, empty_efi: Path, capsys, name: str) -> None:
    """Mutated files, in this process: main() returns 0, 1 or 2, or the test sees the exception."""
    (folder / "cert.b64").write_bytes(base64.b64encode(bytes(2084)))
    (folder / "session.b64").write_bytes(base64.b64encode(bytes(128)))
    (folder / "answer").write_bytes(bytes(48))
    (folder / "guests.toml").write_text(
        GUEST + SEV + 'policy = 0x1\ncbitpos = 51\ndh-cert = "cert.b64"\nsession = "session.b64"\n'
    )
    assert start(PACK, folder / "guests.toml", "--efi", empty_efi, "-o", folder / "packed.efi").returncode == 0
    path, *words = INPUTS[name](folder)
    tool, chance, good = load(path), random.Random(name), (folder / name).read_bytes()
    answers = set()
    for _ in range(150):
        (folder / name).write_bytes(mutated(good, chance))
        answers.add(tool.main([str(word) for word in words]))
        said = capsys.readouterr().err
        assert "Traceback" not in said and len(said) < 3000, said
        if said and name not in ("answer", "session.b64"):
            assert str(folder / name) in said
    assert answers <= {0, 1} and 1 in answers
