# SPDX-License-Identifier: BSD-2-Clause-Patent
"""`make image` as a user calls it: the image holds what was named, whatever the time stamps say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import image
from launch_program import LaunchProgram
from packing import ROOT
from test_reproducible import clean_copy

pytestmark = [pytest.mark.stock, pytest.mark.xdist_group("make")]


NAME = "a folder with spaces, a comma, a $HOME and an @@1"


@pytest.fixture(scope="module")
def tree(
    tmp_path_factory: pytest.TempPathFactory, build: Path, nothing_built: Callable[..., AbstractContextManager[None]]
) -> Path:
    """A clone in a folder with a name that shells, QEMU and mtools could misread, with what is built already."""
    folder = clean_copy(tmp_path_factory.mktemp("make") / NAME)
    with nothing_built():
        subprocess.run(["cp", "-a", build, folder / ".build"], check=True)
    return folder


GUEST = '[[guest]]\nname = "{name}"\nmemory = "16M"\nencryption = "none"\nimage = "{image}"\ncmdline = "{words}"\n'


def names(tree: Path) -> dict[str, bytes]:
    """name -> all payload, of the guests in the image that a user would write to a stick."""
    efi = tree / "from-the-image.efi"
    image.read_file(tree / ".build" / "sevisor.img", image.BOOT_PATH, efi)
    return {name: efi.read_bytes() for name in LaunchProgram(efi).guests}


def test_the_image_holds_the_guests_that_were_named(tree: Path, make: Callable[..., str]) -> None:
    new, old, here = tree / "new.toml", tree / "old guests.toml", "do-image"
    (tree / "my image").write_bytes(b"FIRST IMAGE".ljust(4096, b"\xf4"))
    new.write_text(GUEST.format(name="new", image="my image", words=""))
    old.write_text(GUEST.format(name="old", image="my image", words=""))
    os.utime(old, (1, 1))
    for _ in range(2):
        make("-s", here, "GUESTS=new.toml", directory=tree, BUILD=".build")
        assert set(names(tree)) == {"new"}
        make("-s", here, f"GUESTS={old}", directory=tree, BUILD=".build")
        assert set(names(tree)) == {"old"}

    # A payload that is replaced by an older file, and one that only the list names.
    (tree / "my image").write_bytes(b"OTHER IMAGE".ljust(4096, b"\xf4"))
    os.utime(tree / "my image", (1, 1))
    make("-s", here, "GUESTS=old guests.toml", directory=tree, BUILD=".build")
    assert b"OTHER IMAGE" in names(tree)["old"]

    before = (tree / ".build" / "sevisor.img").stat()
    make("-s", here, "GUESTS=old guests.toml", directory=tree, BUILD=".build")
    assert (tree / ".build" / "sevisor.img").stat().st_mtime == before.st_mtime
    (tree / ".build" / "sevisor.img").write_bytes(b"something else, and newer")
    make("-s", here, "GUESTS=old guests.toml", directory=tree, BUILD=".build")
    assert set(names(tree)) == {"old"}


def test_the_kernel_is_the_one_that_was_named(tree: Path, make: Callable[..., str]) -> None:
    copy = tree / ".build" / "guest" / "vmlinuz"
    debians = copy.read_bytes()
    for content, stamp in ((b"one", 10**9), (b"two", 1), (b"one", 1)):
        (tree / "my kernel").write_bytes(content)
        os.utime(tree / "my kernel", (stamp, stamp))
        make("-s", ".build/guest/vmlinuz", "GUEST_KERNEL=my kernel", directory=tree, BUILD=".build")
        assert copy.read_bytes() == content
    make("-s", ".build/guest/vmlinuz", directory=tree, BUILD=".build")
    assert copy.read_bytes() == debians


def test_sources_of_guests_are_known_by_their_content(tree: Path, make: Callable[..., str]) -> None:
    """An old file comes back with its old time stamp, as from a backup."""
    outputs = [tree / ".build" / "guest" / name for name in ("dsdt.aml", "hello.bin")]
    sources = {
        tree / "guest" / "dsdt.asl": (b"COM1", b"COM9"),
        tree / "guest" / "hello" / "hello.c": (b"SEV active", b"SEV ACTIVE"),
    }
    goals = [f".build/guest/{path.name}" for path in outputs]
    make("-s", *goals, directory=tree, BUILD=".build")
    before = [path.read_bytes() for path in outputs]
    for (source, (old, new)), output in zip(sources.items(), outputs, strict=True):
        status, text = source.stat(), source.read_bytes()
        assert old in text
        source.write_bytes(text.replace(old, new))
        make("-s", *goals, directory=tree, BUILD=".build")
        assert new in output.read_bytes()
        source.write_bytes(text)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        make("-s", *goals, directory=tree, BUILD=".build")
        assert [path.read_bytes() for path in outputs] == before
    stamps = [path.stat().st_mtime_ns for path in outputs]
    make("-s", *goals, directory=tree, BUILD=".build")
    assert [path.stat().st_mtime_ns for path in outputs] == stamps


def test_so_are_those_of_the_sample_with_a_secret(tree: Path, make: Callable[..., str]) -> None:
    goal, init = ".build/guest/locked/initramfs.cpio.gz", tree / "guest" / "linux" / "init"
    assert "make-initramfs" not in make("-n", goal, directory=tree, BUILD=".build")
    text = init.read_bytes()
    init.write_bytes(text + b"# another\n")
    os.utime(init, (1, 1))
    assert "make-initramfs" in make("-n", goal, directory=tree, BUILD=".build")
    init.write_bytes(text)
    assert "make-initramfs" not in make("-n", goal, directory=tree, BUILD=".build")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["do-image", "GUESTS=nowhere.toml"], "nowhere.toml: No such file"),
        (["do-image", "GUESTS="], "GUESTS is empty"),
        (["do-image", "BUILD=a b"], "must have a name without spaces"),
        (
            ["do-image", "GUESTS=guest/locked.toml", "GUEST_KERNEL=README.md"],
            'no guest has kernel = "${BUILD}/vmlinuz"',
        ),
    ],
)
def test_a_mistake_is_answered_in_words(tree: Path, words: list[str], answer: str) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD")
    }
    done = subprocess.run(["make", "-s", *words], cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and answer in done.stderr and "Traceback" not in done.stderr


def test_run_works_in_a_folder_of_any_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    (tree / "alone.toml").write_text(GUEST.format(name="alone", image="alone.bin", words=""))
    (tree / "alone.bin").write_bytes(b"\xf4" * 4096)
    done = subprocess.run(["bash", "-c", '"$@" <&-', "-", sys.executable, tree / "tests" / "system" / "run.py",
                           "--guests", "alone.toml", "--stock", "--cpu", "qemu64"],
                          cwd=tree, capture_output=True, text=True, errors="replace", timeout=300,
                          env=os.environ | {"BUILD": ".build", "TMPDIR": str(tmp_path / "a,b")})  # fmt: skip
    assert (
        "Sevisor preflight" in done.stdout
        and done.stderr.startswith("run: FAILED: ")
        and "Traceback" not in done.stderr
    )
