# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The sample guest's initramfs: readable by others, and the same each time."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

GUEST = Path(__file__).resolve().parents[2] / "guest"


def test_two_builds_are_the_same(samples: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.gz"
    subprocess.run([sys.executable, GUEST / "linux" / "make-initramfs", "-o", again], check=True)
    assert again.read_bytes() == (samples / "initramfs.cpio.gz").read_bytes()


def test_programs_have_any_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff")
    (tmp_path / name).write_bytes(b"a program")
    subprocess.run(
        [sys.executable, GUEST / "linux" / "make-initramfs", "-o", tmp_path / "out.gz", tmp_path / name], check=True
    )
    assert b"bin/caf\xe9 \xff\0" in gzip.decompress((tmp_path / "out.gz").read_bytes())


def test_cpio_reads_it(samples: Path) -> None:
    archive = gzip.decompress((samples / "initramfs.cpio.gz").read_bytes())
    done = subprocess.run(["cpio", "-tv", "--quiet"], input=archive, capture_output=True, check=True)
    lines = {line.split()[-1]: line for line in done.stdout.decode().splitlines() if "->" not in line}
    assert {"init", "bin/busybox", "dev/console", "dev/kmsg", "proc", "sys", "tmp"} <= set(lines)
    assert lines["init"].startswith("-rwxr-xr-x") and lines["dev/console"].startswith("crw")
    assert all("root" in line and "1970" in line for line in lines.values())
    assert b"bin/sh -> busybox" in done.stdout


def test_init_is_valid_shell() -> None:
    subprocess.run(["busybox", "sh", "-n", GUEST / "linux" / "init"], check=True)


def test_every_command_of_init_is_in_the_archive(samples: Path) -> None:
    archive = gzip.decompress((samples / "initramfs.cpio.gz").read_bytes())
    text = (GUEST / "linux" / "init").read_text()
    for command in (
        "mount",
        "grep",
        "cat",
        "dmesg",
        "sed",
        "sleep",
        "tr",
        "uname",
        "wc",
        "rev",
        "stty",
        "poweroff",
        "reboot",
    ):
        assert command in text and f"bin/{command}\0".encode() in archive


def test_no_marker_stands_in_what_is_packed(samples: Path) -> None:
    archive = gzip.decompress((samples / "initramfs.cpio.gz").read_bytes())
    for data in (archive, (samples / "hello.bin").read_bytes()):
        for text in (b"SEVISOR-PRIVATE", b"SEVISOR-SHARED", b"SEVISOR-LINUX"):
            assert text not in data
