# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The sample guest's initramfs: readable by others, and the same each time."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

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


def initramfs(output: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, GUEST / "linux" / "make-initramfs", *map(str, words), "-o", output]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_dynamic_program_comes_with_its_libraries_and_runs(tmp_path: Path) -> None:
    """In a root that has nothing else, as the guest's."""
    assert initramfs(tmp_path / "out.gz", "--file", "etc/deep/words:/etc/hostname", "/usr/bin/readelf").returncode == 0
    root = tmp_path / "root"
    root.mkdir()
    archive = gzip.decompress((tmp_path / "out.gz").read_bytes())
    subprocess.run(["cpio", "-id", "--quiet", "--nonmatching", "dev/*"], cwd=root, input=archive, check=True)
    assert (root / "etc" / "deep" / "words").read_bytes() == Path("/etc/hostname").read_bytes()
    loader = root / "lib64" / "ld-linux-x86-64.so.2"
    done = subprocess.run(
        [loader, "--library-path", root / "lib", "--list", root / "bin" / "readelf"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line.split(" => ")[1].split(" (")[0] for line in done.stdout.splitlines() if " => " in line]
    assert found and all(Path(path).is_relative_to(root) for path in found if "vdso" not in path), done.stdout


def module(folder: Path, name: str, *needs: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0")


def test_modules_are_loaded_after_those_that_they_need(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    module(tree / "md", "dm-mod")
    module(tree / "md", "dm-crypt", "dm-mod", "lower")
    module(tree / "lib", "lower", "lowest")
    (tree / "lib" / "lowest.ko.xz").write_bytes(lzma.compress(b"\0depends=\0 as it is"))
    done = initramfs(tmp_path / "out.gz", "--kernel-tree", tree, "--module", "dm-crypt", "--module", "dm_mod")
    assert done.returncode == 0, done.stderr
    archive = gzip.decompress((tmp_path / "out.gz").read_bytes())
    names = ("dm-mod", "lowest", "lower", "dm-crypt")
    assert "".join(f"/modules/{name}.ko\n" for name in names).encode() in archive
    assert b"\0depends=\0 as it is" in archive


def test_what_cannot_be_put_in_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out.gz"
    for status, words, said in (
        (2, ["--module", "loop"], "--module needs --kernel-tree"),
        (1, ["--module", "loop", "--kernel-tree", tmp_path], "there is no module loop in"),
        (2, ["--file", "../x:/etc/hostname"], "is not NAME:FILE"),
        (2, ["--file", "/x:/etc/hostname"], "is not NAME:FILE"),
        (2, ["--file", "x"], "is not NAME:FILE"),
        (1, ["--file", f"x:{tmp_path}/none"], "No such file"),
    ):
        done = initramfs(out, *words)
        assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr, done
        assert not out.exists()


# ---------------------------------------------------------------- the volume


def volume(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, GUEST / "linux" / "make-volume", "--key", folder / "key", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_volume_is_opened_by_its_key_and_shows_nothing_without(tmp_path: Path) -> None:
    """cryptsetup judges the header and finds the volume's key; the content is decrypted as the kernel would."""
    (tmp_path / "welcome").write_text("the owner's words, which nobody else reads")
    out, key = tmp_path / "volume", tmp_path / "key"
    done = volume(tmp_path, "--size", 2, "-o", out, tmp_path / "welcome")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 32
    assert out.stat().st_size == 3 << 20 and b"the owner's words" not in out.read_bytes()

    def cryptsetup(*words: object) -> int:
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        return subprocess.run(["cryptsetup", *map(str, words)], env=environment, capture_output=True).returncode

    assert cryptsetup("open", "--test-passphrase", "--type", "luks2", "--key-file", key, out) == 0
    (tmp_path / "other").write_bytes(bytes(32))
    assert cryptsetup("open", "--test-passphrase", "--type", "luks2", "--key-file", tmp_path / "other", out) != 0
    found = tmp_path / "volume-key"
    assert (
        cryptsetup("luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", found, "--key-file", key, out)
        == 0
    )
    plain = bytearray()
    content = out.read_bytes()[1 << 20 :]
    for number in range(len(content) // 512):
        xts = Cipher(algorithms.AES(found.read_bytes()), modes.XTS(number.to_bytes(16, "little"))).decryptor()
        plain += xts.update(content[512 * number : 512 * (number + 1)])
    assert plain[0x438:0x43A] == b"\x53\xef"  # ext4's magic number
    assert b"the owner's words, which nobody else reads" in plain

    # A second volume has the same key, which is the owner's, and another volume key.
    before = key.read_bytes()
    assert volume(tmp_path, "--size", 2, "-o", tmp_path / "again").returncode == 0
    assert key.read_bytes() == before and (tmp_path / "again").read_bytes()[1 << 20 :] != content


def test_a_volume_that_is_too_small_is_told(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 8192)
    done = volume(tmp_path, "--size", 1, "-o", tmp_path / "volume", tmp_path / "large")
    assert done.returncode == 1 and "mke2fs failed" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "volume").exists()
