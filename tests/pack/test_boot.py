# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Launch programs on Debian's own QEMU, without the hypervisor: shim.asm stands in for it.

QEMU's isa-debug-exit device sits on the sleep register's port, so that a guest's power-off ends QEMU.
"""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import time
from pathlib import Path

import pytest

import markers
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from emulator import firmware_arguments, option
from pack import manifest
from pack.manifest import Kind

HERE = Path(__file__).resolve().parent
BIOS_AREA = range(0xE0000, 0x100000)  # where the shim itself appears
POWERED_OFF = (5 << 2 | 0x20) << 1 | 1  # isa-debug-exit's return code for SLP_TYP 5, SLP_EN

TIME_LIMIT = 600  # seconds, on a host that is busy with more than these tests

# Linux' check of the timer's interrupt judges how fast the host is.
QUIET_LINUX = "console=ttyS0 quiet panic=-1 no_timer_check"


def qemu(*words: object) -> list[str]:
    return ["qemu-system-x86_64", "-M", "q35", "-cpu", "EPYC", "-nodefaults", "-no-reboot", "-display", "none",
            *map(str, words)]  # fmt: skip


def launch(guest: manifest.Guest, folder: Path) -> list[str]:
    """QEMU's command line that does by loader devices and shim what Sevisor does for a plain guest."""
    values, gdtr = guest.registers.values, guest.registers.segments["gdtr"]
    defines = {name.upper(): values[name] for name in ("rip", "rsp", "rsi", "rdi", "cr0", "cr3", "cr4", "efer")}
    defines |= {"GDT_BASE": gdtr.base, "GDT_LIMIT": gdtr.limit}
    shim = folder / "shim.bin"
    subprocess.run(
        ["nasm", "-f", "bin", "-o", shim, *(f"-D{k}={v:#x}" for k, v in defines.items()), HERE / "shim.asm"], check=True
    )
    words = ["-m", f"{guest.memory >> 20}M", "-bios", shim, "-device", "isa-debug-exit,iobase=0x600,iosize=1"]
    for number, step in enumerate(guest.steps):
        if step.kind != Kind.ZERO and step.gpa not in BIOS_AREA:
            (folder / f"step{number}").write_bytes(step.data)
            words += ["-device", f"loader,file={option(folder)}/step{number},addr={step.gpa:#x},force-raw=on"]
    return qemu(*words)


def wait_for(path: Path, text: str, seconds: float = TIME_LIMIT) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = path.read_text(errors="replace") if path.exists() else ""
        if text in content:
            return content
        time.sleep(0.1)
    raise AssertionError(f"no {text!r} on the console:\n{content}")


def dump(process: subprocess.Popen, folder: Path, size: int) -> bytes:
    """All of memory, by QEMU's monitor on standard input."""
    path = folder / "memory"
    process.stdin.write(f'pmemsave 0 {size} "{path}"\nquit\n')
    process.stdin.flush()
    process.wait(TIME_LIMIT)
    return path.read_bytes()


@pytest.fixture
def pack_hello(pack, samples: Path, tmp_path: Path):
    def make(cmdline: str) -> manifest.Guest:
        toml = tmp_path / "hello.toml"
        toml.write_text(
            f'[[guest]]\nname = "h"\nmemory = "16M"\nencryption = "none"\nimage = "{samples / "hello.bin"}"\ncmdline = "{cmdline}"\n'
        )
        pack(toml, "--manifest-only", "-o", tmp_path / "hello.manifest")
        return manifest.parse((tmp_path / "hello.manifest").read_bytes())[0]

    return make


def test_hello_runs_and_powers_off(pack_hello, tmp_path: Path) -> None:
    done = subprocess.run(
        launch(pack_hello("ticks=0"), tmp_path) + ["-serial", "stdio"], capture_output=True, text=True, timeout=TIME_LIMIT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        'hello: bare metal guest on Sevisor, 16 MiB, command line "ticks=0"',
        "hello: SEV not active (CPUID 8000_001F does not offer it)",
        "hello: markers written, private at 0x200000, shared at 0x400000",
        "hello: power off",
    ]
    assert done.returncode == POWERED_OFF


@pytest.mark.parametrize("word", ["reset", "triple-fault"])
def test_hello_ends_as_told(pack_hello, tmp_path: Path, word: str) -> None:
    words = ["-serial", "stdio", "-device", "isa-debug-exit,iobase=0x602,iosize=1"]
    done = subprocess.run(
        launch(pack_hello(f"ticks=0 {word}"), tmp_path) + words, capture_output=True, text=True, timeout=TIME_LIMIT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "hello: power off" not in done.stdout
    assert done.returncode == (3 if word == "reset" else 0)  # -no-reboot: a triple fault ends QEMU quietly


def test_hellos_markers_are_in_memory_and_only_there(pack_hello, tmp_path: Path) -> None:
    console = tmp_path / "console"
    command = launch(pack_hello("marker=needle ticks=0 spin"), tmp_path) + [
        "-serial",
        f"file:{console}",
        "-monitor",
        "stdio",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            wait_for(console, "hello: spinning")
            memory = dump(process, tmp_path, 16 << 20)
        finally:
            process.kill()
    for marker, gpa in ((markers.private_marker("needle"), 0x200000), (markers.shared_marker("needle"), 0x400000)):
        assert memory.count(marker) == memory[gpa : gpa + 4096].count(marker) == 64
    assert markers.private_marker("hello") not in memory


def test_linux_finds_its_tables_and_memory(pack, debian_kernel: Path, samples: Path, tmp_path: Path) -> None:
    """Up to the point where Debian's QEMU lacks the clock and the timer that Sevisor's guests have."""
    toml = tmp_path / "linux.toml"
    toml.write_text(
        f'[[guest]]\nname = "l"\nmemory = "256M"\nencryption = "none"\nkernel = "{debian_kernel}"\n'
        f'initrd = "{samples / "initramfs.cpio.gz"}"\ncmdline = "console=ttyS0 earlyprintk=serial,ttyS0,115200"\n'
    )
    pack(toml, "--dsdt", samples / "dsdt.aml", "--manifest-only", "-o", tmp_path / "linux.manifest")
    guest = manifest.parse((tmp_path / "linux.manifest").read_bytes())[0]
    initrd = guest.steps[-1].gpa  # at the end of memory
    console = tmp_path / "console"
    with subprocess.Popen(
        launch(guest, tmp_path) + ["-serial", f"file:{console}"], stdin=subprocess.DEVNULL
    ) as process:
        try:
            text = wait_for(console, "ACPI: Core revision")
        finally:
            process.kill()
    for line in ("ACPI: RSDP 0x0000000000100000", "ACPI: FACP", "ACPI: DSDT", f"RAMDISK: [mem {initrd:#010x}-",
                 "[mem 0x0000000000100000-0x000000000010ffff] ACPI data", "ACPI: Using ACPI for processor"):  # fmt: skip
        assert line in text
    assert re.search(r"Allowing 1 (present )?CPUs", text)  # until Linux 6.8 without "present"
    for word in ("ACPI BIOS", "ACPI Error", "ACPI Warning", "checksum"):
        assert word not in text.replace("Early table checksum verification disabled", "")


def test_linux_self_check_on_an_ordinary_pc(debian_kernel: Path, samples: Path, tmp_path: Path) -> None:
    """/init itself, started by QEMU's own loader: timers, marker, console."""
    console = tmp_path / "console"
    words = ["-m", "256M", "-kernel", debian_kernel, "-initrd", samples / "initramfs.cpio.gz", "-append",
             f"{QUIET_LINUX} sevisor.input=1 sevisor.marker=needle sevisor.hold", "-serial", f"file:{console}",
             "-monitor", "stdio"]  # fmt: skip
    with subprocess.Popen(qemu(*words), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            text = wait_for(console, "sevisor-linux: holding")
            memory = dump(process, tmp_path, 256 << 20)
        finally:
            process.kill()
    for line in ("Memory Encryption Features not active", "sleep 1 took", "10 short sleeps took", "private marker written",
                 "console input skipped", "self-check passed"):  # fmt: skip
        assert f"sevisor-linux: {line}" in text
    assert memory.count(markers.linux_marker("needle")) >= 4096


def test_linux_unpacks_the_secret_behind_its_initrd(
    pack, owner, debian_kernel: Path, samples: Path, tmp_path: Path
) -> None:
    """The initrd as it is packed, with what LAUNCH_SECRET would put into its tail: /secret.key is in the root."""
    for name, size in (("cert.b64", 2084), ("session.b64", 128)):
        (tmp_path / name).write_text(base64.b64encode(bytes(size)).decode())
    toml = tmp_path / "linux.toml"
    toml.write_text(
        f'[[guest]]\nname = "l"\nmemory = "256M"\nencryption = "sev"\nkernel = "{debian_kernel}"\n'
        f'initrd = "{samples / "initramfs.cpio.gz"}"\n[guest.sev]\ndh-cert = "cert.b64"\nsession = "session.b64"\n'
        "require-secret = true\nsecret-size = 16384\n"
    )
    pack(toml, "--dsdt", samples / "dsdt.aml", "--manifest-only", "-o", tmp_path / "linux.manifest")
    guest = manifest.parse((tmp_path / "linux.manifest").read_bytes())[0]
    (tmp_path / "key").write_text("the-owners-secret")
    keys = ["--tik", "00" * 16, "--tek", "00" * 16, "--launch-measure-blob", "00" * 48, "--iv", "00" * 16]
    owner(
        "secret", "build", *keys, "--file", f"secret.key:{tmp_path / 'key'}", tmp_path / "header", tmp_path / "payload"
    )
    decryptor = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).decryptor()
    secret = decryptor.update((tmp_path / "payload").read_bytes())

    pages = {step.gpa: step.data or bytes(step.size) for step in guest.steps}
    start, size = struct.unpack_from("<II", pages[guest.registers.values["rsi"]], 0x218)
    ramdisk = b"".join(data for gpa, data in sorted(pages.items()) if gpa >= start)[:size]
    place = guest.secret_gpa - start
    assert ramdisk[place:] == bytes(16384)
    (tmp_path / "ramdisk").write_bytes(ramdisk[:place] + secret + ramdisk[place + len(secret) :])
    words = ["-m", "256M", "-kernel", debian_kernel, "-initrd", tmp_path / "ramdisk", "-serial", "stdio",
             "-append", f"{QUIET_LINUX} rdinit=/bin/cat -- /secret.key"]  # fmt: skip
    done = subprocess.run(qemu(*words), capture_output=True, timeout=TIME_LIMIT, stdin=subprocess.DEVNULL)
    assert b"the-owners-secret" in done.stdout and b"unpacking failed" not in done.stdout


def test_ovmf_loads_the_section(pack, guests_toml: Path, empty_efi: Path, tmp_path: Path) -> None:
    """What a real UEFI loader makes of the packed file: the section is in memory, whole."""
    boot = tmp_path / "disk" / "EFI" / "BOOT"
    boot.mkdir(parents=True)
    pack(guests_toml, "--efi", empty_efi, "-o", boot / "BOOTX64.EFI")
    pack(guests_toml, "--manifest-only", "-o", tmp_path / "alone")
    words = ["-m", "256M", *firmware_arguments(tmp_path), "-drive", f"format=raw,file=fat:rw:{option(tmp_path / 'disk')}",
             "-serial", "stdio"]  # fmt: skip
    done = subprocess.run(
        qemu(*words), capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, stdin=subprocess.DEVNULL
    )
    assert f"section: {(tmp_path / 'alone').stat().st_size} bytes, MANIFEST_OK" in done.stdout
