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
FIRST = "bookworm"
NEXT_PREFIX = f"referee-{machine_build.SUITE}-"


def first_options() -> list[str]:
    """apt's options for Debian 12's packages: none on Debian 12."""
    codename = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    if codename and codename[1] == FIRST:
        return []
    return fetch_kernel.other_suite(FIRST, fetch_kernel.cache_folder() / f"apt-{FIRST}")


def unpacked(package: str, version: str) -> Path:
    return fetch_kernel.cache_folder() / f"referee-{package}_{version}"


@fetch_kernel.alone()
def first_release() -> Path:
    """Debian 12's kernel: the unpacked package."""
    options = first_options()
    package = fetch_kernel.real_package(META, options)
    folder = unpacked(package, fetch_kernel.version_of(package, options))
    if fetch_kernel.kernel_in(folder) is None:
        fetch_kernel.fetch(package, folder, options)
    return folder


def next_apt() -> machine_build.PrivateApt:
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


@fetch_kernel.alone()
def next_release() -> Path:
    """Debian 13's kernel: the unpacked package."""
    cached = sorted(fetch_kernel.cache_folder().glob(f"{NEXT_PREFIX}linux-image-*"))
    if cached:
        return cached[-1]
    apt = next_apt()
    found = re.search(
        r"^\s*Depends: (linux-image-6\S*)$", fetch_kernel.run("apt-cache", *apt.options, "depends", META), re.MULTILINE
    )
    if not found:
        raise RuntimeError(f"Debian {machine_build.SUITE} has no {META}")
    package = found.group(1)

    def fill(tree: Path) -> None:
        apt.get("download", package, cwd=tree.parent)
        fetch_kernel.run("dpkg-deb", "-x", str(next(tree.parent.glob("*.deb"))), str(tree))

    return appears_whole(fetch_kernel.cache_folder() / f"{NEXT_PREFIX}{package}", fill)


USERLAND = ("qemu-system-x86", "ovmf")


def userland(options: list[str], folder: str) -> Path:
    """QEMU and OVMF with all that they depend on, unpacked into one tree of the cache."""

    def fill(tree: Path) -> None:
        downloads = tree.parent / "archives"
        (downloads / "partial").mkdir(parents=True)
        # A private apt believes that nothing is installed, so this is all of it.
        fetch_kernel.run(
            "apt-get",
            "-q",
            *options,
            "install",
            "--download-only",
            "-y",
            "--no-install-recommends",
            "-o",
            f"Dir::Cache::archives={downloads}",
            *USERLAND,
        )
        for archive in sorted(downloads.glob("*.deb")):
            fetch_kernel.run("dpkg-deb", "-x", str(archive), str(tree))

    return appears_whole(fetch_kernel.cache_folder() / folder, fill)


@fetch_kernel.alone()
def first_release_userland() -> Path:
    """Debian 12's: what is installed here, or unpacked."""
    options = first_options()
    return userland(options, f"referee-{FIRST}-userland") if options else Path("/")


@fetch_kernel.alone()
def next_release_userland() -> Path:
    """Debian 13's."""
    return userland(next_apt().options, f"{NEXT_PREFIX}userland")


def is_next_release(kernel: Path) -> bool:
    return kernel.name.startswith(NEXT_PREFIX)


def version(kernel: Path) -> str:
    """The version of the Debian package, as the kernel's image tells it."""
    image = next((kernel / "boot").glob("vmlinuz-*")).read_bytes()
    found = re.search(rb"#\d+ SMP [^\0]*Debian (\S+) \(", image)
    if not found:
        raise RuntimeError(f"{kernel.name}: the image does not say which Debian package it is from")
    return found.group(1).decode()


@fetch_kernel.alone()
def download(kernel: Path, package: str, version: str, folder: Path) -> Path:
    """A package of the release that the kernel is from: this version, or the newest if the mirror has moved on."""
    options = next_apt().options if is_next_release(kernel) else [*first_options(), "-o", "APT::Sandbox::User=root"]
    command = ("apt-get", "-q", *options, "download")
    try:
        fetch_kernel.run(*command, f"{package}={version}", cwd=folder)
    except fetch_kernel.FetchError:
        fetch_kernel.run(*command, package, cwd=folder)
    return next(folder.glob(f"{package}_*.deb"))
