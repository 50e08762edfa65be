# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The code is laid out as the tools lay it out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
LAYOUT = Path(__file__).parent / "layout.py"


def layout(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAYOUT, *words], capture_output=True, text=True)


def test_the_code_is_laid_out() -> None:
    done = layout("--check")
    assert done.returncode == 0, f"{done.stdout[:4000]}\n`make format` does it"


@pytest.mark.parametrize(
    ("name", "text"), [("a.c", "int  a;\n"), ("b.h", "int f(void);\n\n\n\nint g(void);\n"), ("c.py", "x = {  }\n"), ("d", "#!/usr/bin/python3\nx=1\n")]
)  # fmt: skip
def test_what_is_not_is_seen_and_mended(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert layout("--check", file).returncode == 1 and file.read_text() == text
    assert layout(file).returncode == 0 and file.read_text() != text
    assert layout("--check", file).returncode == 0
