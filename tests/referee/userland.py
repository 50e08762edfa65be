# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Programs of a Debian system, with the libraries that they load, for an initramfs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib64/ld-linux-x86-64.so.2"  # what the programs' own headers name


def needed(program: Path) -> list[str]:
    """The libraries that a program or library asks its loader for."""
    done = subprocess.run(["readelf", "-dW", program], capture_output=True, text=True, check=True)
    return re.findall(r"\(NEEDED\)\s+Shared library: \[([^]]+)\]", done.stdout)


def closure(root: Path, programs: Sequence[str], data: Sequence[str] = ()) -> dict[str, Path]:
    """Programs and data of the system below `root`, by their names there; libraries are added."""
    files = {name: root / name for name in (*programs, *data)}
    wanted = [root / name for name in programs]
    while wanted:
        for library in needed(wanted.pop()):
            name = f"lib/{library}"
            if name in files or library == Path(LOADER).name:
                continue
            found = next((root / folder / library for folder in LIBRARIES if (root / folder / library).exists()), None)
            if found is None:
                raise FileNotFoundError(f"{library} is nowhere in {root}")
            files[name] = found
            wanted.append(found)
    loader = Path(LOADER).name
    files[LOADER] = next(root / folder / loader for folder in LIBRARIES if (root / folder / loader).exists())
    return files
