# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Builds a guest's launch program from its configuration."""

from __future__ import annotations

from pathlib import Path

from . import cli, files, flat, linux
from .config import GuestConfig
from .errors import PackError
from .layout import GuestMemory
from .manifest import Flag, Guest
from .measure import launch_digest


def _read(key: str, path: Path) -> bytes:
    try:
        return files.read(path)
    except PackError as error:
        raise PackError(f"{key}: {error}") from None


def _read_dsdt(path: Path) -> bytes:
    if not path.exists():
        raise PackError(
            f"{path}: there is no such file; Linux guests need it: `make efi` builds it, --dsdt names another"
        )
    return files.read(path)


def build(config: GuestConfig, dsdt: Path) -> Guest:
    memory = GuestMemory(config.memory)
    cbitpos = config.sev.cbitpos if config.sev else None
    secret_size = config.sev.secret_size if config.sev else 0
    secret_gpa = config.sev.secret_gpa if config.sev else None
    try:
        if config.image:
            registers = flat.build(memory, _read("image", config.image), config.cmdline, cbitpos)
        else:
            assert config.kernel is not None
            initrd = _read("initrd", config.initrd) if config.initrd else b""
            if config.initrd and not initrd:
                raise PackError(
                    f"initrd: the file {config.initrd} is empty: leave the key out if the guest has no initrd"
                )
            registers = linux.build(
                memory, _read("kernel", config.kernel), initrd, config.cmdline, config.vcpus, _read_dsdt(dsdt), cbitpos,
                secret_size=0 if secret_gpa is not None else secret_size, control=Flag.CONTROL in config.flags,
            )  # fmt: skip
        if secret_gpa is not None:
            memory.secret(secret_gpa, secret_size)
    except PackError as error:
        raise PackError(f'guest "{config.name}": {error}') from None
    for text in memory.warnings:
        cli.warn(f'pack.py: warning: guest "{config.name}": {text}')

    guest = Guest(
        name=config.name,
        encryption=config.encryption,
        memory=config.memory,
        vcpus=config.vcpus,
        pins=config.pins,
        steps=memory.steps(),
        registers=registers,
        on_poweroff=config.on_poweroff,
        on_reboot=config.on_reboot,
        on_crash=config.on_crash,
        restarts=config.restarts,
        flags=config.flags,
        secret_gpa=memory.secret_gpa,
        secret_size=memory.secret_size,
    )
    if config.sev:
        guest.policy = config.sev.policy
        guest.cbitpos = config.sev.cbitpos
        guest.reduced_phys_bits = config.sev.reduced_phys_bits
        guest.dh_cert, guest.session = config.sev.dh_cert, config.sev.session
        guest.launch_digest = launch_digest(guest.steps)
    return guest
