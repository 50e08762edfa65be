# SPDX-License-Identifier: BSD-2-Clause-Patent
"""image.py: what it takes to boot from, and files and folders of any name."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import image
from emulator import Emulator, option
from pack import pe
from pack.errors import PackError

IMAGE = Path(image.__file__)


def start(*words: object, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, **more
    )


@pytest.fixture
def packed(pack, guests_toml: Path, empty_efi: Path, tmp_path: Path) -> Path:
    pack(guests_toml, "--efi", empty_efi, "-q", "-o", tmp_path / "packed.efi")
    return tmp_path / "packed.efi"


def signed(data: bytes, signature: bytes = b"PKCS#7 would stand here.") -> bytes:
    """As signing tools leave a file: the certificate table behind the sections, and no right checksum."""
    at = struct.unpack_from("<I", data, 0x3C)[0] + 24 + 112 + 4 * 8
    return data[:at] + struct.pack("<II", len(data), len(signature)) + data[at + 8 :] + signature


def test_only_a_whole_and_packed_sevisor_is_booted(packed: Path, empty_efi: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    machine = struct.unpack_from("<I", data, 0x3C)[0] + 4
    cases = {
        "holds no manifest": empty_efi.read_bytes(),
        "truncated": data[:-1],
        "something was appended": data + bytes(512),
        "not an EFI application for x86-64": data[:machine] + b"\x64\xaa" + data[machine + 2 :],
        "its checksum is wrong": data[:-600] + b"?" + data[-599:],
        "its signature is not what follows": signed(data) + bytes(8),
        "damaged": signed(data[:-600] + b"?" + data[-599:]),  # the manifest's own checksum finds it
    }
    for words, content in cases.items():
        (tmp_path / "bad.efi").write_bytes(content)
        done = start(IMAGE, tmp_path / "x.img", "--boot", tmp_path / "bad.efi")
        assert done.returncode == 1 and done.stderr.count("\n") == 1, words
        assert done.stderr.startswith(f"image.py: {tmp_path / 'bad.efi'}: ") and words in done.stderr, done.stderr
        assert not (tmp_path / "x.img").exists()
    (tmp_path / "signed.efi").write_bytes(signed(data))
    for name in ("packed.efi", "signed.efi"):
        assert start(IMAGE, tmp_path / "x.img", "--boot", tmp_path / name).returncode == 0
        image.read_file(tmp_path / "x.img", image.BOOT_PATH, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / name).read_bytes()
    with pytest.raises(PackError, match="signed"):
        pe.insert_manifest(signed(data), b"manifest")


@pytest.mark.parametrize(
    "name", ["c:z.efi", "::y.efi", "$HOME.efi", "${x} *.efi", "-i", "@@0.efi", "a,b.efi", os.fsdecode(b"\xff.efi")]
)
def test_any_file_has_any_name(packed: Path, tmp_path: Path, name: str) -> None:
    """mtools know drives, variables, options and offsets in names."""
    folder = tmp_path / f"{name} $HOME @@1K"
    folder.mkdir()
    (folder / name).write_bytes(packed.read_bytes())
    done = start(IMAGE, f"./{name}.img", f"--boot={name}", "--file", f"OTHER={name}", cwd=folder)
    assert done.returncode == 0, done.stderr
    image.read_file(folder / f"{name}.img", image.BOOT_PATH, folder / f"{name}.out")
    assert (folder / f"{name}.out").read_bytes() == packed.read_bytes()
    assert len(list(folder.iterdir())) == 3


def test_qemu_finds_its_files_in_a_folder_with_commas(tmp_path: Path) -> None:
    """The machine is asked what it opened, and never runs."""
    folder = tmp_path / "a,readonly=on,,b"
    folder.mkdir()
    (folder / "disk,1.img").write_bytes(bytes(1 << 20))
    machine = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-S", "-m", "64M"]
    with Emulator(machine, [folder / "disk,1.img"], name="commas", time_limit=60, folder=folder) as running:
        blocks = [block["inserted"]["image"] for block in running.qmp.command("query-block") if "inserted" in block]
    names = {block.get("backing-image", block)["filename"] for block in blocks}
    assert {str(folder / "disk,1.img"), str(folder / "OVMF_VARS.fd")} <= names
    assert option("a,b") == "a,,b"
