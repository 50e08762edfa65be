# SPDX-License-Identifier: BSD-2-Clause-Patent
"""KVM's own selftests, built from Debian's source package of a kernel: not installed, and nothing of it in this tree.

In the cache are kept, each whole or not at all, by the kernel's version:

  referee-<package>_<version>/            the few folders of the source that the selftests are built from
  referee-selftests_<version>-<recipe>/   the programs, static, since they run in an initramfs without libraries
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import kernels
from kernels import fetch_kernel, machine_build

# What `make headers` and the selftests' Makefile read, below the archive's top folder.
MEMBERS = (
    "Kbuild", "Makefile", "arch/x86/Kbuild", "arch/x86/Makefile*", "arch/x86/entry/syscalls", "arch/x86/include",
    "arch/x86/tools", "include/asm-generic", "include/uapi", "scripts", "tools/arch/x86/include", "tools/build",
    "tools/include", "tools/lib/rbtree.c", "tools/scripts", "tools/testing/selftests/*.h",
    "tools/testing/selftests/kvm", "tools/testing/selftests/lib.mk", "tools/testing/selftests/rseq",
)  # fmt: skip
FOLDER = Path("tools/testing/selftests/kvm")
HEADERS = ("ARCH=x86", "headers")
WORK = ".referee-selftests-"
BUILD = ("ARCH=x86_64", "LDFLAGS=-static -pthread -no-pie")


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One at a time fetches and builds; a second one then finds all in the cache. Goes when the process goes."""
    cache = fetch_kernel.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "referee-selftests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for abandoned in cache.glob(f"{WORK}*"):  # by a process that was killed
            shutil.rmtree(abandoned)
        yield


def make(folder: Path, log: Path, *words: str) -> None:
    """The kernel's make, which is to know nothing of the make that runs the tests."""
    foreign = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD", "KBUILD_OUTPUT", "O", "OUTPUT", "CFLAGS", "LDFLAGS", "V")
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    command = ["make", "-C", str(folder), f"-j{os.cpu_count() or 1}", *words]
    machine_build.run(command, log, env=environment, stdin=subprocess.DEVNULL)


def unpack(archive: Path, package: str, folder: Path) -> None:
    """MEMBERS of the source archive within the package, neither of which is unpacked as a whole."""
    wanted = [f"{package}/{member}" for member in MEMBERS]
    extract = ["tar", "-x", "-C", str(folder), "--strip-components=1", "--wildcards", "--no-wildcards-match-slash"]
    steps = (
        ["dpkg-deb", "--fsys-tarfile", str(archive)],
        ["tar", "-xO", f"./usr/src/{package}.tar.xz"],
        ["xz", "-dc", "-T0"],
        [*extract, *wanted],
    )
    running: list[subprocess.Popen[bytes]] = []
    for step in steps:
        source = running[-1].stdout if running else subprocess.DEVNULL
        sink = None if step is steps[-1] else subprocess.PIPE
        running.append(subprocess.Popen(step, stdin=source, stdout=sink))
        if len(running) > 1:
            running[-2].stdout.close()  # so that it learns when its reader ends
    failed = [step[0] for step, process in zip(steps, running, strict=True) if process.wait()]
    if failed:
        raise machine_build.Failure(f"unpacking {archive.name}: {', '.join(failed)} failed")


def source(kernel: Path) -> Path:
    """The selftests' source for an unpacked kernel package, with the headers for user space made."""
    version = kernels.version(kernel)
    package = "linux-source-" + ".".join(version.split(".")[:2])
    folder = fetch_kernel.cache_folder() / f"referee-{package}_{version}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=WORK) as temporary:
            tree = Path(temporary) / "tree"
            tree.mkdir()
            unpack(kernels.download(kernel, package, version, Path(temporary)), package, tree)
            make(tree, Path(temporary) / "log", *HEADERS)
            tree.rename(folder)
    return folder


def programs(kernel: Path, names: Sequence[str]) -> dict[str, Path]:
    """The selftests of these names, by their names in the initramfs, but for those that this kernel does not have."""
    with lock():
        tree = source(kernel)
        there = [name for name in names if (tree / FOLDER / "x86_64" / f"{name}.c").exists()]
        recipe = hashlib.sha256(repr((sorted(there), BUILD)).encode()).hexdigest()[:8]
        folder = fetch_kernel.cache_folder() / f"referee-selftests_{kernels.version(kernel)}-{recipe}"
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=WORK) as temporary:
                built, fresh = Path(temporary) / "built", Path(temporary) / "programs"
                built.mkdir()
                fresh.mkdir()
                targets = [str(built / "x86_64" / name) for name in there]
                make(tree / FOLDER, fresh / "log", *BUILD, f"OUTPUT={built}", *targets)
                for target in targets:
                    machine_build.run(["strip", "-o", str(fresh / Path(target).name), target])
                fresh.rename(folder)
        for line in (folder / "log").read_text(errors="replace").splitlines():
            if re.search(r"\b(?:warning|error):", line):
                print(line)
    return {f"selftests/{name}": folder / name for name in there}
