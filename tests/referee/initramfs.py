# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The referee's initramfs: the sample guest's maker (guest/linux/make-initramfs), plus modules, programs and an errand."""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent


def script(path: Path) -> ModuleType:
    """A Python script without a suffix, as a module."""
    name = "referee_" + path.name.replace("-", "_")
    if name not in sys.modules:
        spec = spec_from_loader(name, SourceFileLoader(name, str(path)))
        assert spec and spec.loader
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


cpio = script(ROOT / "guest" / "linux" / "make-initramfs")
MODULES = ("ccp", "kvm-amd")
# What init and errands use, beyond the sample guest's.
APPLETS = (
    "cmp", "cp", "dd", "echo", "insmod", "kill", "ls", "mkfifo", "printf", "rm", "rmmod", "timeout", "touch",
)  # fmt: skip


def make(
    kernel_tree: Path, files: Mapping[str, Path], errand: str, output: Path, modules: Sequence[str] = MODULES
) -> None:
    """`files`: names in the initramfs, and where their bytes are; their folders are made.

    `errand`: a shell script, which init runs when the modules are loaded.
    """
    init = (Path(__file__).parent / "init").read_bytes()
    entries = cpio.contents(Path("/bin/busybox").read_bytes(), init)
    for applet in APPLETS:
        entries[f"bin/{applet}"] = cpio.Entry(stat.S_IFLNK | 0o777, b"busybox")
    cpio.add_modules(entries, kernel_tree, modules)
    entries["errand"] = cpio.Entry(stat.S_IFREG | 0o644, errand.encode())
    cpio.add_files(entries, files)
    output.write_bytes(cpio.archive(entries))
