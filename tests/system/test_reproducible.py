# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The same inputs give the same EFI file, wherever and by whomever it is built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from packing import ROOT

pytestmark = pytest.mark.stock


def clean_copy(target: Path) -> Path:
    """The files of this tree that are the project's, as a clone would have them."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True,
    )  # fmt: skip
    if listing.returncode:  # no git here: an unpacked archive
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", ".build", "__pycache__"))
        return target
    for name in listing.stdout.split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_builds_from_clean_copies_give_the_same_bytes(tmp_path: Path, make: Callable[..., str]) -> None:
    """Different folders, one with spaces and a quote, a build inside and one outside of the tree, other jobs, clock, locale."""
    first = clean_copy(tmp_path / "a")
    make("efi", directory=first, BUILD=".build", TZ="UTC", LC_ALL="C")

    second = clean_copy(tmp_path / "another place" / "with a longer, odd name: Anna's")
    outside = tmp_path / "build-outside"
    for path in second.rglob("*.c"):
        os.utime(path, (1, 1))
    make("-j1", "efi", directory=second, BUILD=str(outside), TZ="Asia/Tokyo", LC_ALL="C.UTF-8", USER="somebody")

    guest = (f"guest/{name}" for name in ("hello.bin", "control.bin", "dsdt.aml", "initramfs.cpio.gz"))
    for name in (*guest, "hv/hv.bin", "boot/sevisor.efi", "BOOTX64.EFI"):
        assert digest(first / ".build" / name) == digest(outside / name), name


def test_disk_image_is_the_same_each_time(tmp_path: Path, build: Path) -> None:
    images = [tmp_path / "one.img", tmp_path / "two.img"]
    for image in images:
        subprocess.run(
            [sys.executable, ROOT / "tests/system/image.py", image, "--boot", build / "BOOTX64.EFI"],
            check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        )  # fmt: skip
    assert digest(images[0]) == digest(images[1])
