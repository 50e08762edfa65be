# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Packs guests for a test: from Python values to a disk image that boots them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from image import BOOT_PATH, make_image

ROOT = Path(__file__).resolve().parent.parent.parent
# The SEV machine's C-bit, as CPUID 8000_001F reports it.
CBITPOS = 51
REDUCED_PHYS_BITS = 1
NODBG = 0x1
# efi/chain.h
CHAIN_PATH = "EFI/SEVISOR/SEVISOR.EFI"

LINUX_CMDLINE = "console=ttyS0 panic=-1 swiotlb=512"


@dataclass
class GuestSpec:
    """One [[guest]] of guests.toml. `hello` and `linux` below make the usual ones."""

    name: str
    memory: str
    encryption: str
    keys: dict[str, str] = field(default_factory=dict)  # kernel, initrd, image, cmdline, on_reboot ...
    restarts: int = 0
    policy: int = NODBG
    session: tuple[Path, Path] | None = None  # dh-cert and session, base64 files
    sev_lines: tuple[str, ...] = ()  # more of [guest.sev]
    cbitpos: int = CBITPOS
    vcpus: int = 1
    pins: list[int] | None = None  # a CPU per vCPU; None: the hypervisor places them
    flags: tuple[str, ...] = ()  # keys that are true: "control", "debug" ...

    def toml(self) -> str:
        lines = ["[[guest]]", f'name = "{self.name}"', f'memory = "{self.memory}"', f"vcpus = {self.vcpus}"]
        if self.pins is not None:
            lines.append(f"pins = {self.pins}")
        lines.append(f'encryption = "{self.encryption}"')
        lines += [f'{key} = "{value}"' for key, value in self.keys.items()]
        lines += [f"{flag} = true" for flag in self.flags]
        if self.restarts:
            lines.append(f"restarts = {self.restarts}")
        if self.encryption == "sev":
            lines += ["[guest.sev]", f"policy = {self.policy:#x}", f"cbitpos = {self.cbitpos}"]
            lines.append(f"reduced-phys-bits = {REDUCED_PHYS_BITS}")
            lines += self.sev_lines
            if self.session:
                lines += [f'dh-cert = "{self.session[0]}"', f'session = "{self.session[1]}"']
        return "\n".join(lines) + "\n"


def hello(name: str, encryption: str, words: str = "", **more) -> GuestSpec:
    """The bare-metal sample; its markers are made from its name."""
    keys = {"image": "${BUILD}/hello.bin", "cmdline": f"marker={name} {words}".strip(), **more.pop("keys", {})}
    return GuestSpec(name, "16M", encryption, keys, **more)


def linux(name: str, encryption: str, words: str = "", **more) -> GuestSpec:
    """Debian's kernel with the project's initramfs; its marker is made from its name."""
    keys = {
        "kernel": "${BUILD}/vmlinuz",
        "initrd": "${BUILD}/initramfs.cpio.gz",
        "cmdline": f"{LINUX_CMDLINE} sevisor.marker={name} {words}".strip(),
        **more.pop("keys", {}),
    }
    return GuestSpec(name, "256M", encryption, keys, **more)


def control() -> GuestSpec:
    """The operator's, on the machine's second serial port (machines.CONTROL_LINE)."""
    keys = {"image": "${BUILD}/control.bin", "cmdline": "port=com2", "serial": "com2"}
    return GuestSpec("control", "2M", "host", keys, flags=("control",))


def pack_file(guests: Path, unpacked: Path, build: Path, output: Path) -> Path:
    """Puts a guests.toml into an EFI file, as a user would."""
    done = subprocess.run(
        [sys.executable, ROOT / "guest" / "pack.py", guests, "--set", f"BUILD={build / 'guest'}",
         "--efi", unpacked, "-o", output],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"pack.py refused {guests}: {done.stderr.strip()}")
    return output


def pack(
    guests: list[GuestSpec],
    build: Path,
    folder: Path,
    name: str = "guests",
    firmware: tuple[Path, str] | None = None,
    show_pdh: bool = False,
) -> Path:
    """An EFI file with these guests, in `folder`. `firmware` (a file and its version), `show_pdh`: of [platform]."""
    listing = folder / f"{name}.toml"
    platform = ["show-pdh = true"] * show_pdh
    if firmware:
        platform += [f'sev-firmware = "{firmware[0]}"', f'sev-firmware-version = "{firmware[1]}"']
    listing.write_text("\n".join([guest.toml() for guest in guests] + ["[platform]", *platform, ""]))
    return pack_file(listing, build / "boot" / "sevisor.efi", build, folder / f"{name}.efi")


def symbol(program: Path, name: str) -> int:
    listing = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    return int(next(line.split()[0] for line in listing.splitlines() if line.split()[2:] == [name]), 16)


def bootable(efi: Path, first: Path | None = None) -> Path:
    """A disk image beside the EFI file. `first`: an application of efi/ that is booted, and starts it then."""
    image = efi.with_suffix(".img")
    make_image(image, {BOOT_PATH: first, CHAIN_PATH: efi} if first else {BOOT_PATH: efi})
    return image
