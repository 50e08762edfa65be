# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's stock kernels with their modules: Debian 12's, and Debian 13's, whose drivers differ much. Unpacked, not installed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from initramfs import ROOT, script

fetch_kernel = script(ROOT / "guest" / "linux" / "fetch-kernel")
machine_build = script(ROOT / "tests" / "machine" / "build")
META = "linux-image-amd64"


def unpacked(package: str, version: str) -> Path:
    return fetch_kernel.cache_folder() / f"referee-{package}_{version}"


def own() -> Path:
    """This release's kernel: the unpacked package."""
    package = fetch_kernel.real_package(META)
    folder = unpacked(package, fetch_kernel.version_of(package))
    if fetch_kernel.kernel_in(folder) is None:
        fetch_kernel.fetch(package, folder)
    return folder


def next_release_apt() -> machine_build.PrivateApt:
    """Debian 13's packages, by the private apt that the SEV machine's source comes through."""
    apt = machine_build.PrivateApt(fetch_kernel.cache_folder() / "referee-apt", machine_build.debian_mirrors()[0])
    apt.get("update")
    return apt


def appears_whole(folder: Path, fill: Callable[[Path], object]) -> Path:
    """A cached folder, filled under another name first."""
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".referee-") as temporary:
            tree = Path(temporary) / "tree"
            tree.mkdir()
            fill(tree)
            try:
                tree.rename(folder)
            except OSError:
                if not folder.exists():  # else somebody else was faster
                    raise
    return folder


def next_release() -> Path:
    """Debian 13's kernel: the unpacked package."""
    cached = sorted(fetch_kernel.cache_folder().glob(f"referee-{machine_build.SUITE}-linux-image-*"))
    if cached:
        return cached[-1]
    apt = next_release_apt()
    found = re.search(r"^\s*Depends: (linux-image-6\S*)$",
                      fetch_kernel.run("apt-cache", *apt.options, "depends", META), re.MULTILINE)
    if not found:
        raise RuntimeError(f"Debian {machine_build.SUITE} has no {META}")
    package = found.group(1)

    def fill(tree: Path) -> None:
        apt.get("download", package, cwd=tree.parent)
        fetch_kernel.run("dpkg-deb", "-x", str(next(tree.parent.glob("*.deb"))), str(tree))

    return appears_whole(fetch_kernel.cache_folder() / f"referee-{machine_build.SUITE}-{package}", fill)


USERLAND = ("qemu-system-x86", "ovmf")


def next_release_userland() -> Path:
    """Debian 13's QEMU and OVMF with all that they depend on, unpacked into one tree."""

    def fill(tree: Path) -> None:
        apt = next_release_apt()
        downloads = tree.parent / "archives"
        (downloads / "partial").mkdir(parents=True)
        # The private apt believes that nothing is installed, so this is all of it.
        apt.get("install", "--download-only", "-y", "--no-install-recommends",
                "-o", f"Dir::Cache::archives={downloads}", *USERLAND)
        for archive in sorted(downloads.glob("*.deb")):
            fetch_kernel.run("dpkg-deb", "-x", str(archive), str(tree))

    return appears_whole(fetch_kernel.cache_folder() / f"referee-{machine_build.SUITE}-userland", fill)
