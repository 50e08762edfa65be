# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the packer's tests share: the packer itself, built samples, and an EFI file to pack into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "guest"))
sys.path.insert(0, str(ROOT / "guest" / "hello"))
sys.path.append(str(ROOT / "tests" / "unit" / "firmware"))

# As make has it: the same file under another name would be another target.
BUILD = os.environ.get("BUILD", ".build")
Run = Callable[..., subprocess.CompletedProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("pack")


def run_tool(name: str, *words: object, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, ROOT / "guest" / name, *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if check:
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def pack() -> Run:
    return lambda *words, **more: run_tool("pack.py", *words, **more)


@pytest.fixture(scope="session")
def owner() -> Run:
    return lambda *words, **more: run_tool("owner.py", *words, **more)


@pytest.fixture(scope="session")
def vectors() -> dict[str, str]:
    return json.loads((HERE / "vectors.json").read_text())


@pytest.fixture(scope="session")
def samples(build: Path, built: Callable[..., None]) -> Path:
    """The folder with hello.bin, dsdt.aml, initramfs.cpio.gz."""
    folder = build / "guest"
    built(*(f"{BUILD}/guest/{name}" for name in ("hello.bin", "dsdt.aml", "initramfs.cpio.gz")))
    return folder


@pytest.fixture(scope="session")
def debian_kernel(samples: Path) -> Path:
    """Debian's kernel, which `make` has fetched; tests do not use the network."""
    kernel = samples / "vmlinuz"
    if not kernel.is_file():
        pytest.fail(f"{kernel} is missing: `make -f guest/guest.mk guest` fetches it")
    return kernel


@pytest.fixture(scope="session")
def manifest_check(build: Path, built: Callable[..., None]) -> Callable[[Path], str]:
    """The hypervisor's own validator: the error's name for a file."""
    program = build / "unit" / "manifest" / "manifest-check"
    built(f"{BUILD}/unit/manifest/manifest-check")

    def check(path: Path) -> str:
        done = subprocess.run([program, path], capture_output=True, text=True)
        assert not done.stderr, done.stderr
        return done.stdout.removeprefix(f"{path}: ").split()[0]

    return check


@pytest.fixture(scope="session")
def empty_efi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """section.c as an EFI application, built as boot/ is: with gnu-efi and objcopy."""
    folder = tmp_path_factory.mktemp("efi")
    sources = [
        HERE / "section.c",
        *(ROOT / "guest" / name for name in ("manifest.c", "manifest_registers.c", "crc32.c")),
    ]
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, output in zip(sources, objects, strict=True):
        subprocess.run(
            ["gcc", "-iquote", ROOT, "-std=gnu17", "-O1", "-ffreestanding", "-fpic", "-fshort-wchar", "-mno-red-zone", "-fno-stack-protector",
             "-maccumulate-outgoing-args", "-DGNU_EFI_USE_MS_ABI=0", "-I/usr/include/efi", "-I/usr/include/efi/x86_64",
             "-c", source, "-o", output],
            check=True,
        )  # fmt: skip
    crt0 = subprocess.run(
        ["gcc", "-print-file-name=crt0-efi-x86_64.o"], capture_output=True, text=True, check=True
    ).stdout.strip()
    library = os.path.dirname(crt0)
    subprocess.run(
        ["ld", "-nostdlib", "-znocombreloc", "-shared", "-Bsymbolic", f"-L{library}", f"-T{library}/elf_x86_64_efi.lds",
         crt0, *objects, "-lefi", "-lgnuefi", "-o", folder / "section.so"],
        check=True,
    )  # fmt: skip
    sections = [f"--only-section={name}" for name in (".text", ".sdata", ".data", ".rodata", ".dynamic", ".rel", ".rela", ".rel.*", ".rela.*", ".reloc", ".hv")]  # fmt: skip
    subprocess.run(
        [
            "objcopy",
            "--strip-all",
            *sections,
            "--output-target=efi-app-x86_64",
            folder / "section.so",
            folder / "section.efi",
        ],
        check=True,
    )
    return folder / "section.efi"


@pytest.fixture
def guests_toml(tmp_path: Path, samples: Path) -> Path:
    """A file of three small guests."""
    (tmp_path / "hello.bin").write_bytes((samples / "hello.bin").read_bytes())
    path = tmp_path / "guests.toml"
    path.write_text(
        """
[[guest]]
name = "secret"
memory = "16M"
encryption = "sev"
image = "hello.bin"
cmdline = "marker=secret"
[guest.sev]
policy = 0x01000001
cbitpos = 47
reduced-phys-bits = 5

[[guest]]
name = "plain"
memory = "2G"
vcpus = 2
pins = [1, 0]
encryption = "none"
image = "hello.bin"
on_reboot = "restart"
on_crash = "restart"
restarts = 5

[[guest]]
name = "host"
memory = "8192K"
encryption = "host"
image = "hello.bin"
"""
    )
    return path
