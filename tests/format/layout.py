#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Lays out the code: C by clang-format 19 as .clang-format says, Python by black, 120 columns wide.

New files that git does not know yet count too, ignored ones do not. What must keep a layout of its own stands between
"clang-format off" and "clang-format on", in Python between "fmt: off" and "fmt: on".
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CLANG_FORMAT = "clang-format-19"  # versions differ in places
COLUMNS = 120


def files() -> list[str]:
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    return [
        name
        for name in names.decode().split("\0")
        if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()
    ]


def is_python(name: str) -> bool:
    if "." in Path(name).name:
        return name.endswith(".py")
    with (ROOT / name).open("rb") as file:
        return re.match(rb"#!.*\bpython", file.readline()) is not None


def commands(names: Sequence[str], check: bool) -> list[list[str]]:
    """The tools with what they are to do."""
    c = [name for name in names if name.endswith((".c", ".h"))]
    python = [name for name in names if is_python(name)]
    found = []
    if c:
        style = f"--style=file:{ROOT / '.clang-format'}"
        found.append([CLANG_FORMAT, style, *(["--dry-run", "-Werror"] if check else ["-i"]), *c])
    if python:
        found.append(["black", "--quiet", f"--line-length={COLUMNS}", *(["--diff"] if check else []), *python])
    return found


def lay_out(names: Sequence[str], check: bool) -> bool:
    """Whether nothing was, or is, to be done; what is to be done is printed."""
    clean = True
    for command in commands(names, check):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        said = done.stdout + done.stderr
        print(said, end="")
        clean &= done.returncode == 0 and not (check and said)
    return clean


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="change nothing: show what would be, and return 1 if that is something"
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="from the top of the tree; without: all")
    arguments = parser.parse_args()
    return 0 if lay_out(arguments.files or files(), arguments.check) else 1


if __name__ == "__main__":
    sys.exit(main())
