# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Parts of a Debian system for an initramfs: programs with their libraries, kernel modules with those that they need."""

from __future__ import annotations

import lzma
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pack import files  # noqa: E402
from pack.errors import PackError  # noqa: E402

LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib64/ld-linux-x86-64.so.2"  # what the programs' own headers name


def needed(program: Path) -> list[str]:
    """The libraries that a program or library asks its loader for."""
    try:
        done = subprocess.run(["readelf", "-dW", program], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise PackError("readelf is missing: install binutils") from None
    except subprocess.CalledProcessError as error:
        raise PackError(f"{program}: {error.stderr.strip()}") from None
    return re.findall(r"\(NEEDED\)\s+Shared library: \[([^]]+)\]", done.stdout)


def closure(root: Path, programs: Sequence[str], data: Sequence[str] = ()) -> dict[str, Path]:
    """Programs and data of the system below `root`, by their names there; libraries are added."""
    found = {name: root / name for name in (*programs, *data)}
    return found | libraries(root, [root / name for name in programs])


def libraries(root: Path, programs: Sequence[Path]) -> dict[str, Path]:
    """What dynamic programs load, by the names in an initramfs, from the system below `root`."""
    found: dict[str, Path] = {}
    wanted = list(programs)
    while wanted:
        for library in needed(wanted.pop()):
            if f"lib/{library}" in found or library == Path(LOADER).name:
                continue
            found[f"lib/{library}"] = _library(root, library)
            wanted.append(found[f"lib/{library}"])
    if found:
        found[LOADER] = _library(root, Path(LOADER).name)
    return found


def _library(root: Path, name: str) -> Path:
    for folder in LIBRARIES:
        if (root / folder / name).exists():
            return root / folder / name
    raise PackError(f"the library {name} is nowhere in {root}")


def modules(tree: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Modules of an unpacked kernel package and those that they depend on (as their own .modinfo says), in the order to load them."""
    found = {path.name.split(".ko")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}
    wanted = [name.replace("-", "_") for name in names]
    while wanted:
        if wanted[0] not in found:
            raise PackError(f"there is no module {wanted[0]} in {tree}")
        data = _module(found[wanted[0]])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        needs = [n.replace("-", "_") for n in depends.group(1).decode().split(",") if n] if depends else []
        missing = [n for n in needs if n not in found or found[n].name.removesuffix(".xz") not in loaded]
        if missing:
            wanted = missing + wanted
        else:
            loaded[found[wanted.pop(0)].name.removesuffix(".xz")] = data
    return loaded


def _module(path: Path) -> bytes:
    data = files.read(path)
    return lzma.decompress(data) if path.suffix == ".xz" else data
