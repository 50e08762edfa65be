# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The house: who may include whom, headers that declare their own, and how large the rooms may grow."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.unit

# A file includes what is in its own room, or on a lower floor; rooms on one floor know nothing of each other.
FLOORS = {
    "lib": 0,
    "cpu": 1,
    "mm": 2,
    "console": 2,
    "io": 3,
    "svm": 4,
    "dev": 4,
    "vm": 5,
    "control": 6,
    "monitor": 7,
    "init": 8,
}
# What the other rooms of the top level may include, by the beginning of the path.
TOP = {
    "boot/": ("boot/", "hv/lib/", "psp/", "guest/"),
    "psp/": ("psp/", "hv/lib/"),
    "guest/": ("guest/",),
}
# Called from below, defined above: panic, and what assembly calls.
DEFINED_ABOVE = {
    "panic": "hv/init/panic.c",
    "hv_main": "hv/init/main.c",
    "trap_handle": "hv/init/trap.c",
    "exit_dispatch": "hv/vm/exit_dispatch.c",
}

# Lines of code: no blank lines, no comments, headers included.
LIMITS = {"boot": 1600, "core": 13000, "io": 1600, "psp": 1900, "assembly": 450}
STILL_ABOVE = {"boot": 128, "core": 61}  # these only shrink, too


def product(*suffixes: str) -> list[str]:
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "boot", "hv", "psp", "guest"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    return [name for name in names if name.endswith(suffixes) and (ROOT / name).is_file()]


def without_comments(text: str) -> str:
    """C, with each comment and string a blank."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda found: "\n" * found[0].count("\n") if found[0][0] == "/" else '""', text, flags=re.S)


def includes(name: str) -> list[str]:
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', (ROOT / name).read_text(), re.M)


def points_down(name: str, included: str) -> bool:
    if name.startswith("hv/"):
        if not included.startswith("hv/"):
            return included.startswith(("psp/", "guest/")) or included == "boot/handoff.h"
        here, there = name.split("/")[1], included.split("/")[1]
        return here == there or FLOORS[there] < FLOORS[here]
    return included.startswith(next(allowed for start, allowed in TOP.items() if name.startswith(start)))


def test_includes_are_named_from_the_root() -> None:
    wrong = [
        (name, included)
        for name in product(".c", ".h")
        for included in includes(name)
        if not (ROOT / included).is_file()
    ]
    assert not wrong


def test_includes_point_to_the_same_room_or_a_lower_floor() -> None:
    checked = [(name, included) for name in product(".c", ".h") for included in includes(name)]
    assert len(checked) > 300
    assert not [pair for pair in checked if not points_down(*pair)]


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files that each reach one another."""
    reached = {name: set(targets) for name, targets in arrows.items()}
    for middle in list(reached):
        for name, targets in reached.items():
            if middle in targets:
                targets |= reached[middle]
    return [
        set(circle)
        for circle in {frozenset(m for m in reached if m in reached[n] and n in reached[m]) for n in reached}
        if len(circle) > 1
    ]


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_no_circle_of_files() -> None:
    """A .c file and its header are one."""
    arrows: dict[str, set[str]] = {}
    for name in product(".c", ".h"):
        arrows.setdefault(name[:-2], set()).update(
            included[:-2] for included in includes(name) if included[:-2] != name[:-2]
        )
    found = circles({name: {target for target in targets if target in arrows} for name, targets in arrows.items()})
    assert not found


def test_each_c_file_opens_with_a_sentence() -> None:
    opening = re.compile(r"/\* SPDX-License-Identifier: BSD-2-Clause-Patent \*/\n/\*\s")
    assert not [name for name in product(".c") if not opening.match((ROOT / name).read_text())]


def functions(name: str) -> tuple[set[str], set[str]]:
    """Those that a file declares, and those that it defines for others."""
    text = re.sub(
        r"__attribute__\s*\(\(.*?\)\)|^[ \t]*#(?:\\\n|[^\n])*",
        "",
        without_comments((ROOT / name).read_text()),
        flags=re.S | re.M,
    )
    found = re.findall(
        r"^(?!static\b|typedef\b|return\b|extern \"C\")([A-Za-z_][\w \t*]*?)\b(\w+)\(((?:[^(){};]|\([^()]*\))*)\)\s*([;{])",
        text,
        re.M,
    )
    return {f[1] for f in found if f[3] == ";"}, {f[1] for f in found if f[3] == "{"}


def test_a_header_declares_what_its_own_file_defines() -> None:
    """In hv/. boot/boot.h and psp/psp.h are the interfaces of their rooms, and psp/platform.h is what psp/ wants of others."""
    defined = {function: name for name in product(".c") for function in functions(name)[1]}
    assembly = {
        function: name
        for name in product(".asm")
        for function in re.findall(r"^global (\w+)", (ROOT / name).read_text(), re.M)
    }
    wrong, checked = [], 0
    for name in product(".h"):
        if not name.startswith("hv/"):
            continue
        for function in functions(name)[0]:
            where = DEFINED_ABOVE.get(function) or defined.get(function) or assembly.get(function)
            checked += 1
            if function in DEFINED_ABOVE:
                assert defined[function] == where
            elif where is not None and where.rsplit(".", 1)[0] != name[:-2]:
                wrong.append(function)
    assert checked > 200
    assert not wrong


def test_messages_use_the_conversions_that_text_format_has() -> None:
    """The compiler's check of formats knows more of them than hv/lib/text.c, and would not tell."""
    unknown, checked = [], 0
    for name in product(".c", ".h"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*|__asm__.*?;", "", (ROOT / name).read_text(), flags=re.S)
        for literal in re.findall(r'"((?:\\.|[^"\\\n])*)"', text):
            for found in re.findall(r"%(%|[-0]*\d*(?:\.\d+)?\S{0,2})", literal):
                checked += 1
                if found and not re.match(r"%|[-0]*\d*l?[ux]|-?([1-9]\d*)?(l?d|s)", found):
                    unknown.append((name, literal))
    assert checked > 400
    assert not unknown


NESTED = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
SPELLINGS = {
    "sizeof with its whole operand in parentheses": rf"\bsizeof\b(?!\()|\bsizeof{NESTED}(?:->|\.\w|\[)",
    "= {0} for what is zero as a whole": r"\{\s*\.\w+\s*=\s*(?:0|false|NULL|\{0\})\s*,?\s*\}"
    r"|(?:=|\((?:struct|union) \w+\))\s*\{\s*(?:false|NULL)?\s*\}",
}


def other_spellings(text: str) -> list[str]:
    return [found[0] for pattern in SPELLINGS.values() for found in re.finditer(pattern, without_comments(text))]


def test_other_spellings_are_found() -> None:
    wrong = [
        "sizeof x", "sizeof *x", "sizeof (x)", 'sizeof "x"', "sizeof((struct x *)0)->y", "sizeof(x)[0]",
        "x = {.y = 0}", "x = {.y = false}", "f((struct x){.y = NULL})", "x = {}", "x = {NULL}", "f((struct x){})",
    ]  # fmt: skip
    right = [
        "sizeof(x)", "sizeof(*x)", "sizeof(((struct x *)0)->y)", "x / sizeof(x[0])", "/* sizeof x */", 'f("sizeof x")',
        "x = {0}", "f((struct x){0})", "x = {.y = 0, .z = 1}", "x = {.y = 1}", "void f(void) {}",
    ]  # fmt: skip
    assert [len(other_spellings(text)) for text in wrong] == [1] * len(wrong)
    assert [text for text in right if other_spellings(text)] == []


def test_one_spelling_of_sizeof_and_of_zero() -> None:
    """In all C, that of the tests, too."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout.split()  # fmt: skip
    sources = [name for name in names if (ROOT / name).is_file()]
    assert len(sources) > 300
    found = {name: other_spellings((ROOT / name).read_text()) for name in sources}
    assert {name: others for name, others in found.items() if others} == {}


def stands_in(name: str) -> set[str]:
    """What a test's file defines, by the names of the functions that it is linked in place of."""
    text = without_comments((ROOT / name).read_text())
    inside = [line for line in text.splitlines() if line.startswith((" ", "\t"))]
    real = {function for line in inside for function in re.findall(r"\b__real_(\w+)\(", line)}
    return {function.removeprefix("__wrap_") for function in functions(name)[1]} - real


def test_of_two_wrappers_the_one_that_calls_the_real_function_is_no_fake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.c").write_text(
        "int __real_a(void);\nint __wrap_a(void)\n{\n    return __real_a();\n}\n"
        "int __wrap_b(void)\n{\n    return 0;\n}\nint c(void)\n{\n    return 0;\n}\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert stands_in("x.c") == {"b", "c"}


# Functions of the product that unit tests and fuzzers have fakes of. Left are those next to the hardware (registers, page
# tables, bring-up, the ways to end), psp/platform.h, which whoever links psp/ implements, and what a test scripts: jobs, the
# monitor, the secure processor's state, what interrupts and a panic call. Only fewer.
FAKES = 87


def test_fakes_are_counted(show) -> None:
    """By name, whatever the number of tests that have one of it."""
    tests = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "tests/unit", "tests/fuzz"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    sources = [name for name in product(".c") if re.match(r"(?!guest/)|guest/(manifest\w*|crc32)\.c$", name)]
    defined = {function for name in sources for function in functions(name)[1]}
    left = defined & {
        function
        for name in tests
        if name.endswith((".c", ".h")) and (ROOT / name).is_file()
        for function in stands_in(name)
    }
    show(f"functions of the product that tests have fakes of: {len(left)} of {len(defined)}")
    assert {"panic", "window_map"} <= left
    assert len(left) <= FAKES


def lines(*names: str) -> int:
    return sum(
        bool(line.strip()) for name in names for line in without_comments((ROOT / name).read_text()).splitlines()
    )


def test_lines_of_code_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.c").write_text(
        '/* one\n   two */\n\n// three\nint a; /* four */\nconst char *b = "/* no comment";\n\n'
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert lines("x.c") == 2


def of_guest(sources: list[str]) -> set[str]:
    """What hv takes of guest/: the headers that its files include, and what these include; C files that it links."""
    found = {included for name in sources if name.startswith("hv/") for included in includes(name)}
    found |= set(re.findall(r"guest/\w+\.c", (ROOT / "hv" / "hv.mk").read_text()))
    assert "GUEST_VALIDATOR_SOURCES" not in (ROOT / "hv" / "hv.mk").read_text()  # those are boot/'s
    while more := {included for name in found for included in includes(name)} - found:
        found |= more
    return {name for name in found if re.fullmatch(r"guest/(manifest\w*|crc32)\.[ch]", name)}


def test_the_rooms_are_within_their_limits(show) -> None:
    sources = product(".c", ".h")
    shared = of_guest(sources)
    counted = {
        "boot": lines(*(name for name in sources if name.startswith("boot/"))),
        "core": lines(*(name for name in sources if name.startswith(("hv/", "psp/")) and not name.startswith("hv/io/")), *shared),
        "io": lines(*(name for name in sources if name.startswith("hv/io/"))),
        "psp": lines(*(name for name in sources if name.startswith("psp/"))),
        "assembly": sum(bool(re.sub(r";.*", "", line).strip()) for name in product(".asm") if name.startswith(("boot/", "hv/"))
                        for line in (ROOT / name).read_text().splitlines()),
    }  # fmt: skip
    show("lines of code: " + ", ".join(f"{room} {count:,} of {LIMITS[room]:,}" for room, count in counted.items()))
    assert all(counted[room] > 0 for room in LIMITS)
    assert not {room: count for room, count in counted.items() if count > LIMITS[room] + STILL_ABOVE.get(room, 0)}
