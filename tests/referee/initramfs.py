# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The referee's initramfs: the sample guest's maker (guest/linux/make-initramfs), plus modules, programs and an errand."""

from __future__ import annotations

import lzma
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path, PurePosixPath
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


def module_bytes(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def with_dependencies(tree: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The modules and what they depend on (as their own .modinfo says), in the order to load them."""
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}
    wanted = [name.replace("-", "_") for name in names]
    while wanted:
        data = module_bytes(files[wanted[0]])
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        needs = [n.replace("-", "_") for n in found.group(1).decode().split(",") if n] if found else []
        missing = [n for n in needs if files[n].name.removesuffix(".xz") not in loaded]
        if missing:
            wanted = missing + wanted
        else:
            loaded[files[wanted.pop(0)].name.removesuffix(".xz")] = data
    return loaded


def make(
    kernel_tree: Path, files: Mapping[str, Path], errand: str, output: Path, modules: Sequence[str] = MODULES
) -> None:
    """`files`: names in the initramfs, and where their bytes are; their folders are made.

    `errand`: a shell script, which init runs when the modules are loaded.
    """
    init = (Path(__file__).parent / "init").read_bytes()
    entries = cpio.contents(Path("/bin/busybox").read_bytes(), init)
    folder = cpio.Entry(stat.S_IFDIR | 0o755)
    for applet in APPLETS:
        entries[f"bin/{applet}"] = cpio.Entry(stat.S_IFLNK | 0o777, b"busybox")
    entries["modules"] = folder
    loaded = with_dependencies(kernel_tree, modules)
    for name, data in loaded.items():
        entries[f"modules/{name}"] = cpio.Entry(stat.S_IFREG | 0o644, data)
    entries["modules/order"] = cpio.Entry(stat.S_IFREG | 0o644, "".join(f"/modules/{n}\n" for n in loaded).encode())
    entries["errand"] = cpio.Entry(stat.S_IFREG | 0o644, errand.encode())
    for name, path in files.items():
        for parent in list(PurePosixPath(name).parents)[:-1]:
            entries.setdefault(str(parent), folder)
        entries[name] = cpio.Entry(stat.S_IFREG | 0o755, path.read_bytes())
    output.write_bytes(cpio.archive(entries))
