# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's stock kernels with their modules: Debian 12's, and Debian 13's, whose drivers differ much. Unpacked, not installed."""

from __future__ import annotations

import re
from pathlib import Path

from initramfs import ROOT, script

fetch_kernel = script(ROOT / "guest" / "linux" / "fetch-kernel")
machine_build = script(ROOT / "tests" / "machine" / "build")
META = "linux-image-amd64"
NEXT_PREFIX = f"referee-{machine_build.SUITE}-"


def unpacked(package: str, version: str) -> Path:
    return fetch_kernel.cache_folder() / f"referee-{package}_{version}"


def own() -> Path:
    """This release's kernel: the unpacked package."""
    package = fetch_kernel.real_package(META)
    folder = unpacked(package, fetch_kernel.version_of(package))
    if fetch_kernel.kernel_in(folder) is None:
        fetch_kernel.fetch(package, folder)
    return folder


def next_apt() -> machine_build.PrivateApt:
    root = fetch_kernel.cache_folder() / "referee-apt"
    apt = machine_build.PrivateApt(root, machine_build.debian_mirrors()[0])
    apt.get("update")
    return apt


def next_release() -> Path:
    """Debian 13's, by the private apt that the SEV machine's source comes through."""
    cached = sorted(fetch_kernel.cache_folder().glob(f"{NEXT_PREFIX}linux-image-*"))
    if cached:
        return cached[-1]
    apt = next_apt()
    found = re.search(r"^\s*Depends: (linux-image-6\S*)$",
                      fetch_kernel.run("apt-cache", *apt.options, "depends", META), re.MULTILINE)
    if not found:
        raise RuntimeError(f"Debian {machine_build.SUITE} has no {META}")
    work = fetch_kernel.cache_folder() / f".referee-{found.group(1)}"
    work.mkdir(parents=True, exist_ok=True)
    apt.get("download", found.group(1), cwd=work)
    archive = sorted(work.glob("*.deb"))[-1]
    fetch_kernel.run("dpkg-deb", "-x", str(archive), str(work / "tree"))
    folder = fetch_kernel.cache_folder() / f"{NEXT_PREFIX}{found.group(1)}"
    (work / "tree").rename(folder)
    archive.unlink()
    work.rmdir()
    return folder


def is_next_release(kernel: Path) -> bool:
    return kernel.name.startswith(NEXT_PREFIX)


def version(kernel: Path) -> str:
    """The version of the Debian package, as the kernel's image tells it."""
    image = next((kernel / "boot").glob("vmlinuz-*")).read_bytes()
    found = re.search(rb"#\d+ SMP [^\0]*Debian (\S+) \(", image)
    if not found:
        raise RuntimeError(f"{kernel.name}: the image does not say which Debian package it is from")
    return found.group(1).decode()


def download(kernel: Path, package: str, version: str, folder: Path) -> Path:
    """A package of the release that the kernel is from: this version, or the newest if the mirror has moved on."""
    options = next_apt().options if is_next_release(kernel) else ["-o", "APT::Sandbox::User=root"]
    command = ("apt-get", "-q", *options, "download")
    try:
        fetch_kernel.run(*command, f"{package}={version}", cwd=folder)
    except fetch_kernel.FetchError:
        fetch_kernel.run(*command, package, cwd=folder)
    return next(folder.glob(f"{package}_*.deb"))
