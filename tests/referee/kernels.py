# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's stock kernels with their modules: Debian 12's, and Debian 13's, whose drivers differ much. Unpacked, not installed."""

from __future__ import annotations

import re
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


def next_release() -> Path:
    """Debian 13's, by the private apt that the SEV machine's source comes through."""
    cached = sorted(fetch_kernel.cache_folder().glob("referee-trixie-*"))
    if cached:
        return cached[-1]
    root = fetch_kernel.cache_folder() / "referee-apt"
    apt = machine_build.PrivateApt(root, machine_build.debian_mirrors()[0])
    apt.get("update")
    found = re.search(r"^\s*Depends: (linux-image-6\S*)$",
                      fetch_kernel.run("apt-cache", *apt.options, "depends", META), re.MULTILINE)
    if not found:
        raise RuntimeError(f"Debian {machine_build.SUITE} has no {META}")
    work = fetch_kernel.cache_folder() / f".referee-{found.group(1)}"
    work.mkdir(parents=True, exist_ok=True)
    apt.get("download", found.group(1), cwd=work)
    archive = sorted(work.glob("*.deb"))[-1]
    fetch_kernel.run("dpkg-deb", "-x", str(archive), str(work / "tree"))
    folder = fetch_kernel.cache_folder() / f"referee-{machine_build.SUITE}-{found.group(1)}"
    (work / "tree").rename(folder)
    archive.unlink()
    work.rmdir()
    return folder
