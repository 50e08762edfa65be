#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Would the tests notice? Breaks the product in one place at a time, and runs the unit programs that link it.

    mutate.py                                   a sample of every file; a table, and the survivors
    mutate.py --files 'psp/*.c' --each 20       more of some files
    mutate.py --total 300 --seed 7              so many over all files
    mutate.py --list                            what would be tried, as one-line diffs
    mutate.py --out r.jsonl --minutes 20        remember the results; a second run goes on there
    mutate.py --only 17,40 --command 'make test-stock PYTEST="-x"'
                                                those mutants by a command of your own instead (a slower tier)
    mutate.py --apply 17                        leaves mutant 17 in the tree, to be looked at (git checkout undoes it)

Runs on copies of the tree (one per job), never in the tree itself. Of a C file those programs of tests/unit run that link it
(make knows: -W; also those that #include it), the cheapest first, until one fails; of a Python file the pack tests. Verdicts:
`killed` (a test failed, or took five times its CPU time), `survived`, `discarded` (does not compile), `untested` (no unit
program links the file), `equivalent` (the product's compiler makes the same code of it, or equivalents.txt says why nothing
can tell it apart). The score is killed / (all - discarded - equivalent). Numbers are the same for the same tree and --seed.
A survivor is a question, not a verdict. Wants what `make all` built (see --carry).
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import queue
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutants import Mutant, mutants_of, order

HERE = Path(__file__).resolve().parent
DEFAULT_FILES = ["boot/*.c", "hv/*/*.c", "psp/*.c", "guest/*.c", "guest/*.py", "guest/pack/*.py", "guest/owner/*.py"]
EQUIVALENTS = "tests/mutate/equivalents.txt"
PYTEST = [
    os.environ.get("PYTHON", "/usr/bin/python3"),
    "-m",
    "pytest",
    "-c",
    "tests/pytest.ini",
    "--rootdir=.",
    "-m",
    "pack",
    "-x",
    "-q",
]
BOOTS = "tests/pack/test_boot.py"  # the slow part, for those that survive the rest
OTHERS = "not fetch-kernel and not image.py and not run.py"  # tests of tools that have nothing of guest/*.py in them
WALL_SECONDS = 1800.0  # of one program, on a machine that is busy otherwise; what counts is CPU time
LEAST_CPU_SECONDS = 10.0
# The product's own flags, as far as they decide about the code that is made.
PRODUCT = [
    "gcc",
    "-iquote",
    ".",
    "-std=gnu17",
    "-ffreestanding",
    "-O2",
    "-mgeneral-regs-only",
    "-mno-red-zone",
    "-fno-stack-protector",
    "-fshort-wchar",
    "-DGNU_EFI_USE_MS_ABI",
    "-isystem",
    "/usr/include/efi",
    "-isystem",
    "/usr/include/efi/x86_64",
    "-w",
]
_NO_COMPILE = re.compile(r":\d+:\d+: (?:fatal )?error: |undefined reference|SyntaxError|IndentationError")
_WHY = re.compile(r"\[  FAILED  \] (\w+)|^FAILED (\S+)|(AddressSanitizer|runtime error)[^\n]*", re.MULTILINE)


@dataclass
class Goal:
    """One program's test: what make is asked for, and the CPU seconds that a process of it took without a mutation."""

    command: list[str]
    cpu: float = 0.0


def run(
    command: list[str] | str, folder: Path, cpu: float, environment: dict[str, str]
) -> tuple[int | None, str, float]:
    """Return code (None: out of time), the last part of what was said, and the CPU seconds of all processes together."""

    def bounds() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            shell=isinstance(command, str),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bounds,
            env=environment,
        )
        try:
            code: int | None = child.wait(WALL_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 20000))
        said = output.read().decode(errors="replace")
    return code, said, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Copy:
    """A tree of its own, built and tested once, and as it was after each mutant."""

    def __init__(self, root: Path, place: Path, build: str, carry: list[str], without: list[str]) -> None:
        self.folder, self.build, self.pristine = place / "tree", build, place / "pristine"
        hidden = {".git", Path(build).parts[0]}
        shutil.copytree(
            root,
            self.folder,
            symlinks=True,
            ignore=lambda folder, names: hidden.intersection(names) if Path(folder) == root else (),
        )
        for part in carry:
            if (root / part).is_dir():
                shutil.copytree(root / part, self.folder / part, symlinks=True)
        self.environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        self.environment.update(
            PYTHONDONTWRITEBYTECODE="1", BUILD=build, ASAN_OPTIONS="hard_rss_limit_mb=3000:detect_leaks=1"
        )
        self.goals: dict[str, Goal] = {}
        self.without = without
        self.code: dict[str, bytes | None] = {}

    def suites(self) -> dict[str, list[str]]:
        """make's command for each phony target `unit-*` that comes first in a unit.mk."""
        found = {}
        for fragment in sorted(self.folder.glob("tests/unit/*/unit.mk")):
            names = re.findall(r"^\.PHONY: (unit-\S+)", fragment.read_text(), re.MULTILINE)
            if names:
                found[names[0]] = [
                    "make",
                    "-s",
                    "--no-print-directory",
                    "-f",
                    str(fragment.relative_to(self.folder)),
                    f"BUILD={self.build}",
                    names[0],
                ]
        return found

    def includers(self, file: str) -> list[str]:
        """Tests that have a C file in them by #include: make need not know."""
        wanted = re.compile(rf'^#include "[^"]*\b{re.escape(Path(file).name)}"', re.MULTILINE)
        return (
            [
                str(path.relative_to(self.folder))
                for path in sorted(self.folder.glob("tests/**/*.c"))
                if wanted.search(path.read_text(errors="replace"))
            ]
            if file.endswith(".c")
            else []
        )

    def relevant(self, file: str) -> list[Goal]:
        """The programs that a change of this file may concern: what make would do, from the file to the stamps."""
        found: list[Goal] = []
        for command in self.suites().values():
            changed, concerned, any_stamp, plain = {file, *self.includers(file)}, False, False, False
            dry = subprocess.run(
                [*command, "-B", "-n"], cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            for line in dry.stdout.replace("\\\n", " ").splitlines():
                words = re.split(r"[\s;]+", line)
                if words[0] == "touch":
                    if concerned:
                        found.append(self.goals.setdefault(words[1], Goal([*command[:-1], words[1]])))
                    concerned, any_stamp = False, True
                elif changed.intersection(words):
                    concerned = plain = True
                    changed.update(after for word, after in zip(words, words[1:]) if word == "-o")
            if plain and not any_stamp:
                found.append(self.goals.setdefault(command[-1], Goal(command)))
        return [goal for goal in found if not any(word in goal.command[-1] for word in self.without)]

    def first_run(self, files: list[str]) -> str:
        """Builds and passes what these files concern, and measures it. What went wrong, or nothing."""
        for goal in {id(goal): goal for file in files for goal in self.relevant(file)}.values():
            (self.folder / goal.command[-1]).unlink(missing_ok=True)
            code, said, goal.cpu = run(goal.command, self.folder, 10000, self.environment)
            if code != 0:
                return f"{goal.command[-1]} fails without any mutation:\n{said[-3000:]}"
        return ""

    def keep(self) -> None:
        (self.folder / self.build).mkdir(exist_ok=True)
        shutil.copytree(self.folder / self.build, self.pristine, symlinks=True)
        self.as_kept = self.state(self.pristine)

    def state(self, folder: Path) -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        }

    def restore(self) -> None:
        now = self.state(self.folder / self.build)
        for name in now.keys() - self.as_kept.keys():
            (self.folder / self.build / name).unlink()
        for name, stamp in self.as_kept.items():
            if now.get(name) != stamp:
                target = self.folder / self.build / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.pristine / name, target)

    def code_of(self, file: str) -> bytes | None:
        """What the product's compiler makes of the file, without names of files and lines."""
        done = subprocess.run([*PRODUCT, "-S", file, "-o", "-"], cwd=self.folder, capture_output=True)
        return done.stdout if done.returncode == 0 else None

    def judge(self, mutant: Mutant, goals: list[Goal]) -> tuple[str, str]:
        path = self.folder / mutant.file
        text, stamp = path.read_text(), path.stat()
        if mutant.file.endswith(".c") and mutant.file not in self.code:
            self.code[mutant.file] = self.code_of(mutant.file)
        path.write_text(mutant.apply(text))
        including = [(self.folder / name, (self.folder / name).stat()) for name in self.includers(mutant.file)]
        for other, _ in including:
            os.utime(other)
        try:
            for goal in goals:
                code, said, _ = run(goal.command, self.folder, max(LEAST_CPU_SECONDS, 5 * goal.cpu), self.environment)
                if code is None:
                    return "killed", "out of time"
                if code != 0:
                    if _NO_COMPILE.search(said):
                        return "discarded", _NO_COMPILE.search(said).group()
                    words = _WHY.findall(said)
                    return "killed", next((w for group in words for w in group if w), f"returned {code}")
            if self.code.get(mutant.file) is not None and self.code_of(mutant.file) == self.code[mutant.file]:
                return "equivalent", "the compiler makes the same code of it"
            return ("survived" if goals else "untested"), ""
        finally:
            path.write_text(text)
            for changed, old in ((path, stamp), *including):
                os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns))
            self.restore()


def equivalents(root: Path) -> dict[tuple[str, str], str]:
    """File and one-line diff -> why nothing can tell it apart. Two lines each: `FILE: DIFF`, and the proof, indented."""
    known: dict[tuple[str, str], str] = {}
    path = root / EQUIVALENTS
    rows = (
        [row for row in path.read_text().splitlines() if row.strip() and not row.startswith("#")]
        if path.exists()
        else []
    )
    for what, proof in zip(rows[::2], rows[1::2], strict=True):
        file, _, diff = what.partition(": ")
        known[file, diff] = proof.strip()
    return known


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", type=Path, default=HERE.parents[1], help="the tree (default: this one)")
    add("--files", nargs="+", default=DEFAULT_FILES, metavar="GLOB")
    add("--each", type=int, default=6, help="mutants of each C file that compile (6)")
    add("--each-python", type=int, default=4, help="of each Python file (4)")
    add("--total", type=int, help="so many over all files instead, each file in turn")
    add("--seed", type=int, default=1)
    add("--jobs", type=int, default=1)
    add("--minutes", type=float, default=1e9, help="stop taking new mutants after that long")
    add("--build", default=".build")
    add(
        "--carry",
        nargs="*",
        default=[".build/guest", ".build/unit", ".build/boot", ".build/hv"],
        help="built parts that the copies take along (.build/guest .build/unit .build/boot .build/hv)",
    )
    add(
        "--out",
        type=Path,
        help="append each result there, one JSON object a line; what stands there is not tried again",
    )
    add("--again", type=Path, help="of an earlier --out: only those that survived or were not tested")
    add(
        "--without",
        nargs="+",
        default=[],
        metavar="PROGRAM",
        help="leave out programs whose name has this in it, e.g. refusal; then try the survivors again with --again",
    )
    add("--only", help="numbers of mutants, e.g. 3,17")
    add("--command", help="run this for each mutant instead of the unit programs")
    add("--list", action="store_true")
    add("--apply", type=int, metavar="NUMBER")
    return parser.parse_args()


def report(results: list[dict], files: list[str]) -> None:
    print(f"{'file':28} {'killed':>7} {'survived':>9} {'untested':>9} {'equivalent':>11} {'discarded':>10}")
    total: Counter[str] = Counter()
    for file in [*files, ""]:
        counts = Counter(row["verdict"] for row in results if row["file"] == file) if file else total
        total.update(counts if file else {})
        print(
            f"{file or 'all':28} {counts['killed']:7} {counts['survived']:9} {counts['untested']:9} "
            f"{counts['equivalent']:11} {counts['discarded']:10}"
        )
    counted = total["killed"] + total["survived"] + total["untested"]
    print(f"\nkilled {total['killed']} of {counted}: {100 * total['killed'] / max(1, counted):.1f} %\n")
    for row in sorted(results, key=lambda row: row["number"]):
        if row["verdict"] in ("survived", "untested", "equivalent"):
            proof = f"   ({row['by']})" if row["by"] else ""
            print(
                f"{row['number']} {row['verdict']} {row['file']}:{row['line']} [{row['operator']}] {row['diff']}{proof}"
            )


class Plan:
    """Files take turns; a mutant that is discarded makes room for the next one of its file."""

    def __init__(self, numbered: dict[int, Mutant], files: list[str], turns: queue.Queue[str], tried: set[int]) -> None:
        self.turns, self.lock = turns, threading.Lock()
        self.nexts = {
            file: iter([(n, m) for n, m in numbered.items() if m.file == file and n not in tried]) for file in files
        }

    def next_of(self, file: str) -> tuple[int, Mutant] | tuple[None, None]:
        with self.lock:
            return next(self.nexts[file], (None, None))


def work(
    copy: Copy, plan: Plan, args: argparse.Namespace, texts: dict[str, str], keep, stop_at: float, failures: list[str]
) -> None:
    command = [Goal(args.command, 1000.0)] if args.command else []
    fault = ""
    if command:
        code, said, _ = run(args.command, copy.folder, 10000, copy.environment)
        fault = f"the command fails without any mutation:\n{said[-3000:]}" if code != 0 else ""
    else:
        fault = copy.first_run([file for file in texts if file.endswith(".c")])
    if fault:
        failures.append(fault)
        return
    copy.keep()
    pack = [Goal([*PYTEST, "-k", OTHERS, "tests/pack", f"--ignore={BOOTS}"], 200.0), Goal([*PYTEST, BOOTS], 200.0)]

    def pack_tests(file: str) -> list[Goal]:
        """The file's own first, or those that pack everything: most mutants go no farther."""
        own = Path("tests/pack") / f"test_{Path(file).stem}.py"
        first = own if (copy.folder / own).exists() else Path("tests/pack/test_manifest.py")
        return [Goal([*PYTEST, "-k", OTHERS, str(first)], 200.0), *pack]

    needed: dict[str, list[Goal]] = {}
    known = equivalents(args.root)
    while time.monotonic() < stop_at:
        try:
            file = plan.turns.get_nowait()
        except queue.Empty:
            return
        if file not in needed:
            needed[file] = command or (
                pack_tests(file) if file.endswith(".py") else sorted(copy.relevant(file), key=lambda goal: goal.cpu)
            )
        while time.monotonic() < stop_at:
            number, mutant = plan.next_of(file)
            if mutant is None:
                break
            began = time.monotonic()
            diff = mutant.diff(texts[file])
            proof = known.get((file, diff))
            verdict, why = ("equivalent", proof) if proof else copy.judge(mutant, needed[file])
            keep(
                {
                    "number": number,
                    "file": file,
                    "line": mutant.line(texts[file]),
                    "operator": mutant.operator,
                    "verdict": verdict,
                    "by": why,
                    "diff": diff,
                    "seconds": round(time.monotonic() - began, 1),
                }
            )
            if verdict != "discarded":
                break


def main() -> int:
    args = arguments()
    root = args.root = args.root.resolve()
    files = sorted(
        {str(Path(p).relative_to(root)) for g in args.files for p in glob.glob(str(root / g), recursive=True)}
    )
    texts = {file: (root / file).read_text() for file in files}
    every = {str(Path(p).relative_to(root)) for g in DEFAULT_FILES for p in glob.glob(str(root / g), recursive=True)}
    # A number is the file's place among all and the mutant's place in the file's order.
    places = {file: place for place, file in enumerate(sorted(every | set(files)))}
    plans = {file: order(mutants_of(root, file), random.Random(f"{args.seed} {file}")) for file in files}
    numbered = {places[file] * 1000 + j: m for file in files for j, m in enumerate(plans[file][:1000])}
    if args.apply is not None:
        mutant = numbered[args.apply]
        (root / mutant.file).write_text(mutant.apply(texts[mutant.file]))
        print(f"{mutant.file}:{mutant.line(texts[mutant.file])}: {mutant.diff(texts[mutant.file])}")
        return 0
    only = {int(n) for n in args.only.split(",")} if args.only else None
    if args.again:
        rows = [json.loads(row) for row in args.again.read_text().splitlines()]
        wanted = {(r["file"], r["diff"]) for r in rows if r["verdict"] in ("survived", "untested")}
        only = {n for n, m in numbered.items() if (m.file, m.diff(texts[m.file])) in wanted}
    if only is not None:
        numbered = {n: m for n, m in numbered.items() if n in only}
    if args.list:
        for number, m in numbered.items():
            print(f"{number} {m.file}:{m.line(texts[m.file])} [{m.operator}] {m.diff(texts[m.file])}")
        return 0

    results = [json.loads(row) for row in args.out.read_text().splitlines()] if args.out and args.out.exists() else []
    had = Counter(row["file"] for row in results if row["verdict"] != "discarded")
    turns: queue.Queue[str] = queue.Queue()
    left = args.total if args.total is not None and only is None else 10**9
    there = Counter(m.file for m in numbered.values())
    for turn in range(1000):
        for file in files:
            each = args.each_python if file.endswith(".py") else args.each
            if turn < (there[file] if only is not None or args.total is not None else each) and left > 0:
                left -= 1
                if had[file] > turn:
                    continue
                turns.put(file)
    lock, out = threading.Lock(), args.out.open("a") if args.out else None

    def keep(row: dict) -> None:
        with lock:
            results.append(row)
            if out:
                out.write(json.dumps(row) + "\n")
                out.flush()

    failures: list[str] = []
    plan = Plan(numbered, files, turns, {row["number"] for row in results})
    stop_at = time.monotonic() + args.minutes * 60
    with tempfile.TemporaryDirectory(prefix="mutate-") as place:
        copies = [Copy(root, Path(place) / str(i), args.build, args.carry, args.without) for i in range(args.jobs)]
        threads = [
            threading.Thread(target=work, args=(copy, plan, args, texts, keep, stop_at, failures)) for copy in copies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 2
    report(results, files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
