# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What can be broken in one place: the mutants of a C or Python file, by kind of mutation (operator)."""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Calls whose words or absence are no behaviour worth a test.
TEXT_CALLS = (
    "log_print",
    "text_format",
    "line_print",
    "log_guest",
    "ASSERT",
    "_Static_assert",
    "panic",
    "printf",
    "cpu_relax",
)


@dataclass(frozen=True)
class Mutant:
    file: str
    start: int
    end: int
    new: str
    operator: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def line(self, text: str) -> int:
        return text.count("\n", 0, self.start) + 1

    def diff(self, text: str) -> str:
        """The lines that change, on one line."""
        begin = text.rfind("\n", 0, self.start) + 1
        finish = text.find("\n", self.end)
        finish = len(text) if finish < 0 else finish
        old = " ".join(text[begin:finish].split())
        new = " ".join((text[begin : self.start] + self.new + text[self.end : finish]).split())
        return f"- {old}  + {new}"


# ---------------------------------------------------------------- C

_HIDDEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#[ \t]*(?!define)[^\n]*',
    re.DOTALL | re.MULTILINE,
)


def _closing(text: str, at: int) -> int:
    """Of the parenthesis at `at`: the place behind its partner."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    return len(text)


def _masked(text: str) -> str:
    blank = lambda found: re.sub(r"[^\n]", " ", found.group())  # noqa: E731
    text = _HIDDEN.sub(blank, text)
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)", blank, text, flags=re.DOTALL)
    for call in re.finditer(rf"\b(?:{'|'.join(TEXT_CALLS)})\s*\(", text):
        end = _closing(text, call.end() - 1)
        text = text[: call.start()] + re.sub(r"[^\n]", " ", text[call.start() : end]) + text[end:]
    for call in re.finditer(r"\b__asm__\s*(?:volatile)?\s*\(", text):
        end = _closing(text, call.end() - 1)
        text = text[: call.start()] + re.sub(r"[^\n]", " ", text[call.start() : end]) + text[end:]
    return text


def _number(word: str, new: int) -> str:
    suffix = re.search(r"[uUlL]*$", word).group()
    return (hex(new) if word[:2].lower() == "0x" else str(new)) + suffix


def c_mutants(file: str, text: str) -> Iterator[Mutant]:
    code = _masked(text)

    def found(operator: str, start: int, end: int, new: str) -> Mutant:
        return Mutant(file, start, end, new, operator)

    for m in re.finditer(r"(?<=[\w)\] ])(<=|>=|==|!=|<(?![<=])|>(?![>=]))(?=[ ])", code):
        if code[m.start() - 1] in "<>-=" or code[m.start() - 1] != " ":
            continue
        new = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}[m.group()]
        yield found("comparison", *m.span(), new)
    for m in re.finditer(r"&&|\|\|", code):
        yield found("and-or", *m.span(), "||" if m.group() == "&&" else "&&")
    for m in re.finditer(r"(?<= )(&|\||\+|-|<<|>>)(?= )", code):
        new = {"&": "|", "|": "&", "+": "-", "-": "+", "<<": ">>", ">>": "<<"}[m.group()]
        yield found("mask" if m.group() in "&|" else "arithmetic", *m.span(), new)
    for m in re.finditer(r"(?<=& )~", code):
        yield found("mask", *m.span(), "")
    for m in re.finditer(r"(?<![\w.])(0x[0-9a-fA-F]+|\d+)[uUlL]*(?![\w.])", code):
        value = int(m.group(1), 0) if not re.fullmatch(r"0\d+", m.group(1)) else int(m.group(1), 8)
        shifted = code[: m.start()].rstrip()[-2:] in ("<<", ">>")
        if m.group(1)[:2] == "0x" and value > 1:
            yield found("mask", *m.span(), _number(m.group(), value ^ (value & -value)))
            yield found("mask", *m.span(), _number(m.group(), value ^ (1 << (value.bit_length() - 1))))
        yield found("mask" if shifted else "constant", *m.span(), _number(m.group(), value + 1))
        if value > 0:
            yield found("mask" if shifted else "constant", *m.span(), _number(m.group(), value - 1))
    for m in re.finditer(r"\bif \(", code):
        end = _closing(code, m.end() - 1)
        condition = text[m.end() : end - 1]
        yield found("negate", m.end(), end - 1, f"!({condition})")
        body = code[end:].lstrip(" {\n\t")
        leaves = re.match(r"(return|goto|break|continue)\b", body) or re.match(r"[^;{}]*;\s*return\b", body)
        yield found("drop-error" if leaves else "drop-branch", m.end(), end - 1, f"0 && ({condition})")
    for m in re.finditer(r"(?<=[;{})\n])[ \t]*\n?([ \t]+)((?:\(void\))?[a-z]\w*\s*\()", code):
        begin = m.start(2)
        if re.match(r"(if|for|while|switch|return|sizeof|do|else)\b", m.group(2)):
            continue
        end = _closing(code, m.end(2) - 1)
        if code[end : end + 1] == ";":
            yield found("drop-call", begin, end + 1, "(void)0;")
    for m in re.finditer(r"^([ \t]+)(\**[a-z][\w\->.\[\]+* ]*?) (=|\+=|-=|\|=|&=|\^=) [^;{}]*;", code, re.MULTILINE):
        target = m.group(2)
        if re.search(r"\w[ *]+\w", re.sub(r"\[[^]]*\]", "", target)):
            continue  # a declaration
        yield found("drop-assignment", m.start(2), m.end(), "(void)0;")
        if m.group(3) in ("|=", "&="):
            yield found("mask", *m.span(3), "&=" if m.group(3) == "|=" else "|=")
    for m in re.finditer(r"^([ \t]+)([a-z]\w*(?:\[[^]]*\]|->\w+|\.\w+)*(?:\+\+|--));", code, re.MULTILINE):
        yield found("drop-assignment", m.start(2), m.end(), "(void)0;")
    for m in re.finditer(r"\breturn (true|false);", code):
        yield found("return", *m.span(1), "false" if m.group(1) == "true" else "true")
    # Leaving a void function early: before a statement of its outermost block.
    for m in re.finditer(r"^(?:static )?(?:inline )?void \w+\([^;{]*\)\n\{\n(.*?)^\}", code, re.MULTILINE | re.DOTALL):
        for s in re.finditer(r"^    (?=(?:if|for|while|[a-z]\w*(?:->|\.|\[|\())[^;]*)", m.group(1), re.MULTILINE):
            yield found("return", m.start(1) + s.end(), m.start(1) + s.end(), "return; ")


# ---------------------------------------------------------------- Python

_COMPARE = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: (" in ", " not in "),
    ast.NotIn: (" not in ", " in "),
    ast.Is: (" is ", " is not "),
    ast.IsNot: (" is not ", " is "),
}
_BINARY = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
}


def python_mutants(file: str, text: str) -> Iterator[Mutant]:
    rows = [0]
    for row in text.splitlines(keepends=True):
        rows.append(rows[-1] + len(row))

    def place(line: int, column: int) -> int:
        row = text[rows[line - 1] : rows[line]]
        return rows[line - 1] + len(row.encode()[:column].decode())

    def span(node: ast.AST) -> tuple[int, int]:
        return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)

    def between(operator: str, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator[Mutant]:
        start, end = span(left)[1], span(right)[0]
        at = text.find(old, start, end)
        if at >= 0:
            yield Mutant(file, at, at + len(old), new, operator)

    tree = ast.parse(text)
    skip: set[ast.AST] = set()
    for node in ast.walk(tree):  # annotations and argparse's words are no behaviour
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation:
                skip.update(ast.walk(annotation))
        if isinstance(node, (ast.JoinedStr, ast.Raise)):
            skip.update(child for child in ast.walk(node) if child is not node)
    for node in ast.walk(tree):
        if node in skip:
            continue
        if isinstance(node, ast.Compare):
            left = node.left
            for op, right in zip(node.ops, node.comparators):
                if type(op) in _COMPARE:
                    yield from between("comparison", left, right, *_COMPARE[type(op)])
                left = right
        elif isinstance(node, ast.BoolOp):
            old, new = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
            for left, right in zip(node.values, node.values[1:]):
                yield from between("and-or", left, right, old, new)
        elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            kind = "mask" if isinstance(node.op, (ast.BitAnd, ast.BitOr)) else "arithmetic"
            yield from between(kind, node.left, node.right, *_BINARY[type(node.op)])
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            start, end = span(node)
            word = text[start:end].replace("_", "")
            yield Mutant(file, start, end, _number(word, node.value + 1), "constant")
            if node.value > 0:
                yield Mutant(file, start, end, _number(word, node.value - 1), "constant")
            if word[:2].lower() == "0x" and node.value > 1:
                yield Mutant(file, start, end, _number(word, node.value ^ (node.value & -node.value)), "mask")
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            start, end = span(node.test)
            yield Mutant(file, start, end, f"(not ({text[start:end]}))", "negate")
            if isinstance(node, ast.If):
                leaves = isinstance(node.body[-1], (ast.Raise, ast.Return, ast.Continue, ast.Break))
                yield Mutant(
                    file, start, end, f"(False and ({text[start:end]}))", "drop-error" if leaves else "drop-branch"
                )
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield Mutant(file, *span(node), "pass", "drop-call")
        elif isinstance(node, ast.Raise):
            yield Mutant(file, *span(node), "pass", "drop-error")
        elif isinstance(node, ast.AugAssign):
            yield Mutant(file, *span(node), "pass", "drop-assignment")
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and type(node.value.value) is bool:
            yield Mutant(file, *span(node.value), str(not node.value.value), "return")


def mutants_of(root: Path, file: str) -> list[Mutant]:
    text = (root / file).read_text()
    maker = python_mutants if file.endswith(".py") else c_mutants
    return [m for m in dict.fromkeys(maker(file, text)) if m.apply(text) != text]


def order(candidates: list[Mutant], chance: random.Random) -> list[Mutant]:
    """Kinds of mutation take turns, each in random order."""
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in candidates:
        kinds[mutant.operator].append(mutant)
    names = sorted(kinds)
    chance.shuffle(names)
    for name in names:
        chance.shuffle(kinds[name])
    result: list[Mutant] = []
    while any(kinds.values()):
        result += [kinds[name].pop() for name in names if kinds[name]]
    return result
