# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What a compiler reads makes its output out of date: whoever breaks a source sees each program fail that has it inside.

make's own database is asked after a build, instead of breaking every file in turn.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Where the compilers look besides the including file's folder: the root, and the -I options of the fragments.
SEARCHED = ("", "tests/machine/firmware", "tests/unit/firmware")
UNITS = sorted(f"unit-{path.parent.name.replace('_', '-')}" for path in (ROOT / "tests" / "unit").glob("*/unit.mk"))
GOALS = (*UNITS, "efi", "tests-parts", "bench-guest", "referee-programs")

pytestmark = [pytest.mark.unit, pytest.mark.xdist_group("make")]


def ask_make(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def database() -> dict[str, set[str]]:
    """target -> all its prerequisites, as make knows them."""
    rules: dict[str, set[str]] = {}
    for line in ask_make("-pn", *GOALS).stdout.splitlines():
        found = re.fullmatch(r"([^\s#:=%][^\s:=%]*):(?!=)\s*([^=]*)", line)
        if found:
            # Compilers write tests/unit/x.h as tests/unit/y/../x.h.
            rules.setdefault(found[1], set()).update(map(os.path.normpath, found[2].replace("|", " ").split()))
    return rules


def included(path: Path) -> Iterable[Path]:
    pattern = r'^[ \t]*(?:#[ \t]*include|%include)[ \t]+"([^"]+)"'
    for name in re.findall(pattern, path.read_text(errors="replace"), re.MULTILINE):
        for folder in (path.parent, *(ROOT / part for part in SEARCHED)):
            if (folder / name).is_file():
                yield (folder / name).resolve()
                break


def closure(source: Path) -> set[str]:
    found: set[Path] = set()
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += included(path)
    return {str(path.relative_to(ROOT)) for path in found}


@pytest.fixture(scope="module")
def rules(make: Callable[..., str]) -> dict[str, set[str]]:
    make("-s", *GOALS)
    return database()


@pytest.fixture(autouse=True)
def at_rest(rules: dict[str, set[str]], nothing_built: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    with nothing_built():
        yield


def test_every_file_that_is_compiled_in_is_a_prerequisite(rules: dict[str, set[str]]) -> None:
    checked, missing = 0, {}
    for target, prerequisites in rules.items():
        sources = [name for name in prerequisites if name.endswith((".c", ".asm")) and (ROOT / name).is_file()]
        if (
            not (ROOT / target).is_file()
            or not sources
            or target.endswith(".passed")
            and "strict" not in target
            and "free" not in target
        ):
            continue
        wanted = set().union(*(closure(ROOT / name) for name in sources))
        lacking = {name for name in wanted - prerequisites if not name.startswith(os.environ.get("BUILD", ".build"))}
        checked += 1
        if lacking:
            missing[target] = sorted(lacking)
    assert not missing
    assert checked > 150


@pytest.mark.parametrize(
    ("source", "goal"),
    [
        ("hv/control/sev.c", "unit-hv-devices"),
        ("hv/mm/window.c", "unit-hv-map"),
        ("hv/init/smp.c", "unit-hv-smp"),
        ("hv/svm/switch.h", "unit-hv-state"),
        ("guest/control/objects.h", "unit-guest-control"),
        ("boot/handoff.h", "unit-hv-core"),
        ("guest/crc32.h", "unit-hv-core"),
        ("guest/manifest_format.h", "unit-hv-vcpu"),
        ("guest/manifest_errors.h", "unit-manifest"),
        ("psp/psp.h", "unit-psp"),
        ("tests/machine/firmware/internal.h", "unit-firmware"),
        ("guest/hello/bare.h", "bench-guest"),
        ("tests/referee/mbox.h", "referee-programs"),
        ("hv/svm/vmrun.h", ".build/hv/hv/svm/vmrun.asm.o"),
    ],
)
def test_a_change_is_noticed(rules: dict[str, set[str]], source: str, goal: str) -> None:
    goal = goal.replace(".build", os.environ.get("BUILD", ".build"))
    before, path = ask_make("-n", goal).stdout, ROOT / source
    stamps = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    try:
        os.utime(path)  # -W would not do: to make, the same file has several names
        assert ask_make("-n", goal).stdout != before
    finally:
        os.utime(path, ns=stamps)


@pytest.mark.parametrize("goal", [goal for goal in GOALS if goal not in ("unit-manifest",)])
def test_another_compiler_builds_anew(rules: dict[str, set[str]], goal: str) -> None:
    """And asking leaves no trace."""
    before = ask_make("-n", goal).stdout
    assert len(ask_make("-n", "CC=gcc -DOTHER", goal).stdout) > len(before) + 200
    assert ask_make("-n", goal).stdout == before


def test_nothing_is_built_twice(rules: dict[str, set[str]]) -> None:
    """Right after a build, no compiler has anything to do."""
    told = ask_make("-n", *GOALS).stdout
    assert not re.search(r"^\s*(gcc|clang|nasm|ld|objcopy) ", told, re.MULTILINE), told[:2000]


def test_a_fragment_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """Only what compilers write may be missing: before the first build it is."""
    for fragment in (ROOT / "Makefile", *ROOT.glob("*/*.mk"), *ROOT.glob("*/*/*.mk"), *ROOT.glob("*/*/*/*.mk")):
        for line in re.findall(r"^(?:-|s)include[ \t]+(.*)", fragment.read_text(), re.M):
            words = [word for word in line.split() if word not in ("$(call", "$(wildcard")]
            assert all(re.match(r"dependencies,|\S*\.d\)*$", word) for word in words), (fragment, line)
    renamed = tmp_path / "Makefile"
    text = (ROOT / "Makefile").read_text()
    renamed.write_text(text.replace(" hv/hv.mk", " hv/missing.mk"))
    assert renamed.read_text() != text
    said = ask_make("-n", "-f", str(renamed), "help")
    assert said.returncode != 0
    assert "hv/missing.mk: No such file" in said.stderr


def test_a_source_that_has_gone_is_no_error(tmp_path: Path) -> None:
    """In a tree that was built before it went."""
    makefile = """include record.mk
all: program
program: $(shell cat list)
\t@$(call depend,$(CC),$(shell cat list))
\t@$(CC) -o $@ $(shell cat list)
-include $(call dependencies,.) program.d
"""
    (tmp_path / "Makefile").write_text(makefile)
    (tmp_path / "record.mk").write_text((ROOT / "linker" / "record.mk").read_text())
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "other.c").write_text("int other;\n")
    for sources in ("main.c other.c", "main.c"):
        (tmp_path / "list").write_text(sources)
        done = ask_make("-s", folder=tmp_path)
        assert done.returncode == 0 and not done.stderr, done
        (tmp_path / "other.c").unlink(missing_ok=True)
