# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Boots for the system tests, and a record of each."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import machines
import packing
from emulator import Emulator
from machines import COM1, MEMORY, Boot
from operator_side import Amd, ask_amd
from packing import GuestSpec


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="session")
def next_image(build: Path, folder: Path) -> Path:
    """A disk whose application prints that it was started."""
    efi = folder / "next.efi"
    efi.write_bytes((build / "tests" / "next.efi").read_bytes())
    return packing.bootable(efi)


@pytest.fixture(scope="session")
def pack(build: Path, folder: Path) -> Callable[..., Path]:
    """Packs guests under a name of their own; the EFI file."""
    return lambda name, guests, **platform: packing.pack(guests, build, folder, name, **platform)


@pytest.fixture(scope="session")
def suite_kernel() -> Callable[[str], Path]:
    """Debian's cloud kernel of another suite. Only the one that changes from day to day, sid's, may be missing."""

    @functools.cache
    def fetch(suite: str) -> Path:
        done = subprocess.run(
            [sys.executable, packing.ROOT / "guest" / "linux" / "fetch-kernel", "--suite", suite],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode and suite == "sid":
            pytest.skip(f"Debian's unstable kernel cannot be had: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    return fetch


@pytest.fixture(scope="session")
def amd(build: Path, folder: Path) -> Amd:
    return ask_amd(build, folder)


@contextmanager
def _told(machine: Emulator) -> Iterator[Emulator]:
    """A failing test shows its machine's console."""
    with machine:
        try:
            yield machine
        finally:
            print(f"----- console of {machine.name}\n{machine.console.text}\n----- end; QEMU said: {machine.words()}")


@pytest.fixture(scope="session")
def boot_stock() -> Boot:
    """Starts disk images in Debian's QEMU: boot_stock(image, ..., cpu=..., time_limit=...)."""

    def boot(
        *disks: Path, name: str = "stock", time_limit: float = 600, line_rate: int | None = None,
        more_arguments: Sequence[str] = (), **more,
    ) -> AbstractContextManager[Emulator]:  # fmt: skip
        arguments = machines.stock(MEMORY, **more) + [*more_arguments]
        return _told(Emulator(arguments, disks, name=name, time_limit=time_limit, line_rate=line_rate))

    return boot


@pytest.fixture(scope="session")
def boot_sev(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """Starts disk images in the SEV machine: boot_sev(image, ..., fault=..., asids=..., time_limit=...)."""

    def boot(
        *disks: Path, name: str = "sev", time_limit: float = 600, memory: str = MEMORY,
        more_arguments: Sequence[str] = (), uart: Sequence[str] = COM1, **more,
    ) -> AbstractContextManager[Emulator]:  # fmt: skip
        folder = tmp_path_factory.mktemp(name)
        arguments = machines.sev(folder, memory, **more) + [*more_arguments]
        return _told(Emulator(arguments, disks, name=name, time_limit=time_limit, folder=folder, uart=uart))

    return boot
