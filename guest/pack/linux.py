# SPDX-License-Identifier: BSD-2-Clause-Patent
"""An unmodified bzImage, entered by the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst).

Guest-physical memory:
    0x000000  zeros: the BIOS data area, which Linux reads
    0x001000  boot_params
    0x002000  the command line
    0x003000  GDT
    0x004000  page tables: memory (4 GiB at most) mapped to itself
    0x09f000  zeros, and 0x0f0000-0x0fefff too: Linux searches EBDA and BIOS area for legacy tables
    0x0ffff0  the reset vector F000:FFF0, to which Linux jumps for a reboot: code that writes the reset register
    0x100000  ACPI tables, E820 type 3, so that a SEV guest maps them encrypted
    ........  the kernel at its preferred address (16 MiB as a rule), or above
    ........  the initrd at the end of memory, or as high as the kernel allows; if it is to end with a secret, zeros follow
              it from the next page: Linux skips them, and unpacks the archive that the secret is
    0xf0000000  the control guest's window, reserved: behind its memory
    0xfe000000 to 4 GiB, if there is so much memory: reserved
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from . import acpi
from .errors import PackError
from .layout import GuestMemory, human_size, round_up
from .machine import enter_long_mode
from .manifest import CONTROL_WINDOW, CONTROL_WINDOW_SIZE, PAGE, Registers

BOOT_PARAMS_GPA = 0x1000
CMDLINE_GPA = 0x2000
ACPI_GPA = 0x100000
ACPI_SIZE = 0x10000
LOW_MEMORY_END = 0xA0000
RESET_PAGE_GPA = 0xFF000
KERNEL_LOWEST = ACPI_GPA + ACPI_SIZE

E820_RAM = 1
E820_RESERVED = 2
E820_ACPI = 3
DEVICES, DEVICES_END = 0xFE00_0000, 1 << 32  # IOAPIC, HPET, TPM, the chipset's registers, local APIC, ROM

_XLF_KERNEL_64 = 1
_LOADED_HIGH = 1
_LOADER_UNDEFINED = 0xFF


@dataclass
class Kernel:
    setup_header: bytes  # file bytes [0x1f1, end of header)
    image: bytes  # the protected-mode part
    load_gpa: int  # its preferred address; after place_kernel() its actual address
    alignment: int  # of any other address; 0: not relocatable
    init_size: int
    cmdline_max: int
    initrd_max: int


def read_bzimage(data: bytes) -> Kernel:
    """Checks the setup header, and takes from it what a loader needs."""
    if len(data) < 0x270 or data[0x1FE:0x200] != b"\x55\xaa" or data[0x202:0x206] != b"HdrS":
        raise PackError("kernel: this is not a bzImage (no Linux setup header)")
    (version,) = struct.unpack_from("<H", data, 0x206)
    if version < 0x020C:
        raise PackError(
            f"kernel: boot protocol {version >> 8}.{version & 0xFF:02d} is too old, 2.12 (Linux 3.8) is needed"
        )
    (xloadflags,) = struct.unpack_from("<H", data, 0x236)
    if not xloadflags & _XLF_KERNEL_64 or not data[0x211] & _LOADED_HIGH:
        raise PackError("kernel: it has no 64-bit entry point (is it built for 32-bit machines?)")

    setup_size = ((data[0x1F1] or 4) + 1) * 512
    (syssize,) = struct.unpack_from("<I", data, 0x1F4)
    image = data[setup_size : setup_size + syssize * 16]
    if len(image) + 15 < syssize * 16 or not image:
        raise PackError(f"kernel: the file is truncated ({len(data)} of {setup_size + syssize * 16} bytes)")
    load_gpa, init_size = struct.unpack_from("<QI", data, 0x258)
    (alignment,) = struct.unpack_from("<I", data, 0x230)
    if not data[0x234] or alignment % PAGE != 0 or alignment & (alignment - 1):
        alignment = 0
    if init_size < len(image) or not alignment and (load_gpa % PAGE != 0 or load_gpa < KERNEL_LOWEST):
        raise PackError(f"kernel: its preferred address {load_gpa:#x} with {init_size:#x} bytes is not possible")
    (cmdline_max,) = struct.unpack_from("<I", data, 0x238)
    (initrd_max,) = struct.unpack_from("<I", data, 0x22C)
    setup_header = data[0x1F1 : 0x202 + data[0x201]]
    return Kernel(setup_header, image, load_gpa, alignment, init_size, min(cmdline_max, PAGE - 1), initrd_max)


def place_kernel(memory: GuestMemory, kernel: Kernel) -> Kernel:
    """At the address that the kernel prefers, or at the first one above that is aligned as it asks: from anywhere below,
    Linux moves itself there (boot.rst, pref_address), into memory that it must have."""
    preferred, place = kernel.load_gpa, kernel.load_gpa
    if kernel.alignment:
        place = round_up(max(KERNEL_LOWEST, preferred), kernel.alignment)
    needed = place + kernel.init_size
    if kernel.alignment and preferred >= memory.size:
        place = round_up(KERNEL_LOWEST, kernel.alignment)
        more = f"it needs {human_size(round_up(needed, 1 << 20))}" if needed <= DEVICES else "take another kernel"
        memory.warnings.append(
            f"kernel: Linux moves itself to the address that it prefers, {preferred:#x}, where this guest has no memory: "
            f"it would not start; {more}"
        )
    end = place + kernel.init_size
    if end > DEVICES:
        raise PackError(
            f"kernel: it would lie from {place:#x} to {end:#x}, and it must lie below {DEVICES:#x}, where PCs have "
            "their devices: take another kernel"
        )
    if end > memory.size:
        raise PackError(
            f"memory: this kernel needs {human_size(round_up(end, 1 << 20))} "
            f"to start, and the guest has {human_size(memory.size)}"
        )
    kernel = replace(kernel, load_gpa=place)
    memory.place(kernel.load_gpa, kernel.image, "kernel")
    return kernel


def e820_map(memory: int, control: bool = False) -> list[tuple[int, int, int]]:
    """(address, size, type). ACPI memory has a type of its own; 640 KiB to 1 MiB is left out. Memory at addresses where PCs have
    devices is reserved: Linux probes for them even if nothing names them, and refuses to map RAM for that. So is the window
    of the control guest, whose memory ends below it."""
    above = ACPI_GPA + ACPI_SIZE
    entries = [
        (0, LOW_MEMORY_END, E820_RAM),
        (ACPI_GPA, ACPI_SIZE, E820_ACPI),
        (above, min(memory, DEVICES) - above, E820_RAM),
        (CONTROL_WINDOW, CONTROL_WINDOW_SIZE if control else 0, E820_RESERVED),
        (DEVICES, min(memory, DEVICES_END) - DEVICES, E820_RESERVED),
        (DEVICES_END, memory - DEVICES_END, E820_RAM),
    ]
    return [entry for entry in entries if entry[1] > 0]


def boot_params(kernel: Kernel, memory: int, initrd_gpa: int, initrd_size: int, control: bool = False) -> bytes:
    page = bytearray(PAGE)
    page[0x1F1 : 0x1F1 + len(kernel.setup_header)] = kernel.setup_header
    e820 = e820_map(memory, control)
    struct.pack_into("<Q", page, 0x070, ACPI_GPA)  # acpi_rsdp_addr
    page[0x1E8] = len(e820)
    struct.pack_into("<H", page, 0x1FA, 0xFFFF)  # vid_mode: normal
    page[0x210] = _LOADER_UNDEFINED
    struct.pack_into("<I", page, 0x214, kernel.load_gpa)  # code32_start
    struct.pack_into("<II", page, 0x218, initrd_gpa, initrd_size)
    struct.pack_into("<I", page, 0x228, CMDLINE_GPA)
    for i, entry in enumerate(e820):
        struct.pack_into("<QQI", page, 0x2D0 + 20 * i, *entry)
    return bytes(page)


def reset_page() -> bytes:
    """The last page below 1 MiB, for real mode at F000:FFF0. Without EFI's services, Linux reboots a machine with
    hardware-reduced ACPI by this vector first."""
    code = struct.pack("<BHBBBBBb", 0xBA, acpi.RESET_PORT, 0xB0, acpi.RESET_VALUE, 0xEE, 0xF4, 0xEB, -3)
    return bytes(PAGE - 16) + code.ljust(16, b"\0")  # MOV DX, port; MOV AL, value; OUT DX, AL; HLT; JMP to the HLT


def place_initrd(memory: GuestMemory, kernel: Kernel, initrd: bytes, secret_size: int = 0) -> tuple[int, int]:
    """As high as the kernel allows, with the place of a secret as its tail. (address, bytes) as Linux is told them."""
    size = round_up(len(initrd)) + round_up(secret_size)
    highest = min(kernel.initrd_max + 1, DEVICES) // PAGE * PAGE
    needed = round_up(kernel.load_gpa + kernel.init_size) + size
    if needed > highest:
        raise PackError(
            f"initrd: it has {len(initrd) + secret_size} bytes, and would lie up to {needed:#x}, behind the kernel; this kernel takes an "
            f"initrd below {highest:#x}: take a smaller initrd or another kernel"
        )
    if needed > memory.size:
        raise PackError(
            f"initrd: kernel and initrd need {human_size(round_up(needed, 1 << 20))} "
            f"and the guest has {human_size(memory.size)}: give the guest more memory"
        )
    gpa = min(memory.size, highest) - size
    if initrd:
        memory.place(gpa, initrd, "initrd")
    if not secret_size:
        return gpa, len(initrd)
    tail = gpa + round_up(len(initrd))
    memory.zero(tail, round_up(secret_size), "place of the secret")
    memory.secret(tail, secret_size)
    return gpa, tail + secret_size - gpa


def build(
    memory: GuestMemory,
    image: bytes,
    initrd: bytes,
    cmdline: str,
    vcpus: int,
    dsdt: bytes,
    cbitpos: int | None,
    *,
    secret_size: int = 0,
    control: bool = False,
) -> Registers:
    """`secret_size`: bytes that the initrd's tail keeps for a secret."""
    kernel = read_bzimage(image)
    text = cmdline.encode("utf-8")
    if len(text) > kernel.cmdline_max:
        raise PackError(f"cmdline: {len(text)} bytes are too long, this kernel takes {kernel.cmdline_max}")

    memory.zero(0, PAGE, "BIOS data area")
    memory.zero(0x9F000, PAGE, "EBDA")
    memory.zero(0xF0000, RESET_PAGE_GPA - 0xF0000, "BIOS area")
    memory.place(RESET_PAGE_GPA, reset_page(), "reset vector")
    memory.place(ACPI_GPA, acpi.build(ACPI_GPA, vcpus, dsdt), "ACPI tables")
    kernel = place_kernel(memory, kernel)
    initrd_gpa, initrd_size = place_initrd(memory, kernel, initrd, secret_size) if initrd or secret_size else (0, 0)
    memory.place(CMDLINE_GPA, text + b"\0", "command line")
    memory.place(BOOT_PARAMS_GPA, boot_params(kernel, memory.size, initrd_gpa, initrd_size, control), "boot_params")
    # 0x200: the 64-bit entry point. It makes its own stack.
    return enter_long_mode(memory, cbitpos, rip=kernel.load_gpa + 0x200, rsi=BOOT_PARAMS_GPA)
