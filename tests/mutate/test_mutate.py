# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The mutation tester: its verdicts on a product of five lines, and that its list of equivalents is not out of date."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from mutants import mutants_of  # noqa: E402
from mutate import equivalents  # noqa: E402

PRODUCT = """\
int limit(int value)
{
    if (value > 10)
        return 10;
    return value < 0 ? 0 : value;
}
"""
LONELY = "int lonely(int value)\n{\n    return value + 1;\n}\n"
PROGRAM = (
    "int limit(int value);\nint main(void)\n{\n    return limit(11) != 10 || limit(10) != 10 || limit(3) != 3;\n}\n"
)
UNIT = """\
.PHONY: unit-small
unit-small: $(BUILD)/unit/small.passed
$(BUILD)/unit/small: hv/product.c tests/unit/small/test.c
	@mkdir -p $(@D)
	gcc -O1 $^ -o $@
$(BUILD)/unit/%.passed: $(BUILD)/unit/%
	$<
	@touch $@
"""


def test_each_verdict_is_what_the_tests_deserve(tmp_path: Path) -> None:
    for name, text in {
        "hv/product.c": PRODUCT,
        "hv/lonely.c": LONELY,
        "tests/unit/small/test.c": PROGRAM,
        "tests/unit/small/unit.mk": UNIT,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    out = tmp_path / "results"
    subprocess.run(
        [sys.executable, HERE / "mutate.py", "--root", tmp_path, "--files", "hv/*.c", "--total", "99", "--out", out],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )
    verdicts = {row["diff"]: row["verdict"] for row in map(json.loads, out.read_text().splitlines())}
    assert verdicts["- if (value > 10)  + if (value > 9)"] == "equivalent"  # known to the compiler
    assert verdicts["- if (value > 10)  + if (0 && (value > 10))"] == "killed"
    assert verdicts["- return 10;  + return 11;"] == "killed"
    assert (
        verdicts["- return value < 0 ? 0 : value;  + return value < 0 ? 1 : value;"] == "survived"
    )  # nobody asks for -1
    assert {verdict for diff, verdict in verdicts.items() if "value + 1" in diff} == {"untested"}
    assert (tmp_path / "hv/product.c").read_text() == PRODUCT


def test_the_list_of_equivalents_is_up_to_date() -> None:
    known = equivalents(ROOT)
    assert known and all(proof for proof in known.values())
    for file in {file for file, _ in known}:
        text = (ROOT / file).read_text()
        there = {mutant.diff(text) for mutant in mutants_of(ROOT, file)}
        assert {diff for f, diff in known if f == file} <= there, file
