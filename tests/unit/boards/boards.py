#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Makes C of all .toml files in this folder: what real machines say, and what synthetic ones beside them do.

A file that is dropped in is picked up. What it does not tell is left out or, where a test cannot do without, taken from another
of the same generation; what it tells and nobody knows is passed over."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PAGE = 4096
UNKNOWN = 0xFFFFFFFF
# UEFI 2.10, 7.2: EFI_MEMORY_TYPE, and attributes; the words are the kernel's and the specification's.
TYPES = {
    "reserved": 0,
    "loader-code": 1,
    "loader-data": 2,
    "boot-code": 3,
    "boot-data": 4,
    "efi-runtime-code": 5,
    "efi-runtime-data": 6,
    "usable": 7,
    "system-ram": 7,
    "soft-reserved": 7,
    "unusable": 8,
    "acpi-data": 9,
    "acpi-nvs": 10,
    "efi-mmio": 11,
    "efi-mmio-port": 12,
    "pal-code": 13,
    "persistent": 14,
    "unaccepted": 15,
}
OEM_TYPE = 0x70000000
ATTRIBUTES = {
    "uc": 1,
    "wc": 2,
    "wt": 4,
    "wb": 8,
    "nv": 0x8000,
    "more-reliable": 0x10000,
    "sp": 0x40000,
    "cpu-crypto": 0x80000,
    "runtime": 1 << 63,
}
DEVICES = {"naples": 0x1456, "milan": 0x1486, "genoa": 0x14CA, "turin": 0x156E}
COMMANDS = {"init": 0x01, "platform_status": 0x04}
BAR_SIZE = 0x100000
PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)  # ttyS0 to ttyS3
# Types of UARTs in a Serial Port Console Redirection table, and sizes of their registers, in the kernel's words.
SPCR_TYPES = {"uart": 0, "pl011": 3, "sbsa": 0x0D}
SPCR_BITS = {"io": 8, "mmio": 8, "mmio16": 16, "mmio32": 32}


def generation_of(tables: list[dict[str, Any]]) -> str | None:
    """By the name that the file or the sample gives."""
    text = " ".join(
        str(t[key]) for t in tables for key in ("processors", "processor", "machine", "model") if key in t
    ).lower()
    for words, generation in (
        ("naples", "naples"),
        ("rome|milan", "milan"),
        ("genoa|bergamo|siena", "genoa"),
        ("turin", "turin"),
    ):
        if re.search(rf"\b(?:{words})\b", text):
            return generation
    number = re.search(r"epyc (?:embedded )?[3789][0-9a-z]{2}([1-5])", text)
    return {"1": "naples", "2": "milan", "3": "milan", "4": "genoa", "5": "turin"}[number.group(1)] if number else None


def bdf_of(text: str) -> int:
    bus, device, function = re.fullmatch(r"(?:[0-9a-f]{4}:)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", text).groups()
    return int(bus, 16) << 8 | int(device, 16) << 3 | int(function, 16)


def ranges_of(entries: list[list[Any]]) -> list[tuple[int, int, int, int]]:
    """(base, pages, type, attribute). Usable memory is what whole pages of it there are, all else each page that it touches."""
    found = []
    for first, last, word, *attributes in entries:
        word = word.lower().replace(" ", "-").replace("_", "-")
        kind = TYPES.get(word, OEM_TYPE)
        flags = 0xF if kind not in (11, 12) else 1
        if word == "soft-reserved":
            flags |= ATTRIBUTES["sp"]
        for extra in attributes:
            flags = flags & ~0xF if extra == "not-wb" else flags | ATTRIBUTES[extra]
        end = min(last + 1, (1 << 64) - PAGE)
        if kind == 7:
            first, end = -(-first // PAGE) * PAGE, end // PAGE * PAGE
        else:
            first, end = first // PAGE * PAGE, -(-end // PAGE) * PAGE
        found.append((first, max(end - first, 0) // PAGE, kind, flags))
    return found


def plain_map(reserved: list[tuple[int, int, str]], low: int, high: int) -> list[list[Any]]:
    """A map that the source does not have: RAM below `low` and from 4 GiB to `high`, with what it told reserved in between."""
    ram: list[list[Any]] = [[0x1000, 0x9FFFF, "usable"]]
    at = 0x100000
    for first, last, word in sorted(reserved):
        if first < low:
            ram += [[at, first - 1, "usable"], [first, last, word]]
            at = last + 1
    ram += [[at, low - 1, "usable"], [1 << 32, high - 1, "usable"]]
    return ram + [[first, last, word] for first, last, word in reserved if first >= low]


def functions_of(tables: list[dict[str, Any]], generation: str | None) -> list[tuple[Any, ...]]:
    """Secure Processors with their BARs, and what is easily taken for one."""
    found: dict[int, tuple[Any, ...]] = {}
    named: str | None = None
    for table in tables:
        sev, pci = table.get("sev", {}), table.get("pci", {})
        named = sev.get("ccp", table.get("ccp", named))
        listed = list(pci.get("psp", []))
        for key, has_sev in (("ccp", True), ("psp_without_sev", False)):
            at = sev.get(key, table.get(key))
            if isinstance(at, str) and at not in [entry["at"] for entry in listed]:
                listed.append({"at": at, "sev": has_sev})
        for entry in listed:
            bdf, bar = bdf_of(entry["at"]), entry.get("bar2", {})
            device = int(entry["id"].split(":")[1], 16) if "id" in entry else DEVICES[generation or guess(bdf)]
            base = bar.get("base", 0xF0000000 + len(found) * 2 * BAR_SIZE)
            is_sev = entry.get("sev", entry["at"] == named if named else not any(f[3] for f in found.values()))
            found[bdf] = (
                bdf,
                device,
                True,
                is_sev,
                base,
                bar.get("size", BAR_SIZE),
                bar.get("bits", 64) == 64,
                bar.get("prefetchable", False),
            )
            if "function_0" in entry and bdf % 8:
                found.setdefault(
                    bdf & ~7, (bdf & ~7, int(entry["function_0"].split(":")[1], 16), False, False, 0, 0, False, False)
                )
        for entry in pci.get("ccp", []):
            for at in [entry["at"]] if isinstance(entry["at"], str) else entry["at"]:
                found[bdf_of(at)] = (bdf_of(at), int(entry["id"].split(":")[1], 16), False, False, 0, 0, False, False)
    return [found[bdf] for bdf in sorted(found)]


def guess(bdf: int) -> str:
    """AMD's boards have the Secure Processor at a function that tells the generation."""
    return {2: "naples", 1: "milan"}.get(bdf % 8, "genoa")


def ids_of(tables: list[dict[str, Any]]) -> list[int]:
    """All APIC ids, where the file tells; else so many, with the holes that its first ids have."""
    for table in tables:
        ranges = table.get("derived", {}).get("apic_id_ranges", table.get("apic_id_ranges"))
        if ranges:
            return [i for first, last in ranges for i in range(first, last + 1)]
    cpus = next((t["cpus"] for t in tables if "cpus" in t), 0)
    start = next((t["acpi"]["apic_ids_start"] for t in tables if "apic_ids_start" in t.get("acpi", {})), [])
    step = start[next((i for i in range(1, len(start)) if start[i] != start[i - 1] + 1), 0)] if start else 0
    run = start.index(step) if step else 1
    return [i // run * max(step, 1) + i % run for i in range(cpus)]


class Board:
    """One file, or one sample of one, with what stands around it."""

    def __init__(self, name: str, tables: list[dict[str, Any]]) -> None:
        self.name, self.tables = name, tables
        self.generation = generation_of(tables)
        self.leaves = [
            (*(int(part, 16) for part in key.split(".")), *regs)
            for t in tables
            for key, regs in t.get("leaf", {}).items()
        ]
        self.functions = functions_of(tables, self.generation)
        devices = {device: generation for generation, device in DEVICES.items()} | {0x17D8: "turin"}
        for function in self.functions:  # no name tells
            self.generation = self.generation or devices.get(function[1])
        self.ids = ids_of(tables)

    def value(self, *paths: str) -> Any:
        """The last table that has one of these; `a.b` is b in a."""
        for table in reversed(self.tables):
            for path in paths:
                at: Any = table
                for part in path.split("."):
                    at = at.get(part) if isinstance(at, dict) else None
                if at is not None:
                    return at
        return None

    def number(self, *paths: str) -> int:
        value = self.value(*paths)
        return UNKNOWN if value is None else value

    def rmp(self) -> list[tuple[int, int]]:
        spans = [self.value("sev.rmp", "rmp"), self.value("sev.rmp_base"), *(self.value("sev.rmp_segments") or [])]
        return [(span["first"], span["last"]) for span in spans if span]

    def map(self) -> list[tuple[int, int, int, int]]:
        entries = self.value("memory.map")
        if entries is None and self.rmp():
            high = (1 << 32) + ((self.value("memory_gib") or 64) << 30)
            entries = plain_map([(first, last, "reserved") for first, last in self.rmp()], 0xC0000000, high)
        if entries is None and self.value("top_mem2"):
            entries = plain_map([], self.value("top_mem"), self.value("top_mem2"))
        if entries is None and self.value("ecam_base"):
            windows = [
                (self.value("ecam_base"), self.value("mmio_above_4g_limit"), "efi-mmio"),
                (self.value("single_segment.ecam_base"), 0xEFFFFFFF, "efi-mmio"),
            ]
            entries = plain_map(windows, 0xC0000000, 64 << 32)
        return ranges_of(entries or [])

    def asids(self) -> tuple[int, int, int]:
        """The last ASID for SEV, the first for guests without SEV-ES, how many those are."""
        leaf = self.value("leaf_8000001f") or next((list(row[2:]) for row in self.leaves if row[0] == 0x8000001F), None)
        if leaf:
            return leaf[2], leaf[3], self.number("sev_asid_count", "sev.sev_asid_count")
        span, count = self.value("sev_asids", "sev.sev_asids"), self.number("sev_asid_count", "sev.sev_asid_count")
        if span:
            return span[1], span[0], span[1] - span[0] + 1
        with_es = self.value("sev_es_asid_count", "sev.sev_es_asid_count")
        if count != UNKNOWN and with_es is not None:
            return count + with_es, with_es + 1, count
        return self.number("asids"), self.number("min_sev_asid"), count

    def statuses(self) -> list[tuple[int, int]]:
        found = []
        for name, command in COMMANDS.items():
            status = self.value(f"{name}_error", f"sev.{name}_error")
            if isinstance(status, int):
                found.append((command, status))
        return found

    def api(self) -> tuple[int, int, int] | None:
        """Of the SEV firmware: "1.55 build 21", or "1.55.21"; the last one where there are several."""
        told = self.value("sev.api", "api", "sev_firmware", "sev.sev_firmware", "sev.snp_api", "snp_api")
        found = re.fullmatch(
            r"(\d+)\.(\d+)(?:\.| build )(\d+)", str(told[-1] if isinstance(told, list) and told else told)
        )
        return tuple(int(part) for part in found.groups()) if found else None

    def spcr(self) -> tuple[int, int, bool, int, int, int] | None:
        """Revision, type, whether its registers are ports, their bits, where they are, their rate. None: there is no table."""
        told = re.fullmatch(r"(\w+),(\w+),0x([0-9a-f]+)(?:,(\d+)\w*)?", str(self.value("acpi.spcr", "spcr")), re.I)
        revision = self.value("acpi.revisions.SPCR", "spcr_revision", "acpi.spcr_revision")
        if told is None:
            address = self.value("spcr_address", "acpi.spcr_address")
            io = address is not None and address < 0x10000  # else in memory, where AMD's UARTs have a stride of 4
            return None if address is None else (revision or 1, 0, io, 8 if io else 32, address, 115200)
        kind, space, at, baud = told.groups()
        return (
            revision or 2,
            SPCR_TYPES.get(kind.lower(), 0xFF),
            space == "io",
            SPCR_BITS.get(space, 8),
            int(at, 16),
            int(baud or 115200),
        )

    def mcfg(self) -> tuple[int, int, int, int] | None:
        """Segment, base, first and last bus, of which there are as many as have room where the file gives the last byte."""
        told = self.value("pci.mmconfig", "mmconfig")
        if isinstance(told, list):  # an entry per segment: that of the first, which ports reach, too
            told = min(told, key=lambda entry: entry.get("segment", 0), default=None)
        if told is None:
            return None
        first = told.get("first_bus", 0)
        buses = (told["last"] + 1 - told["base"]) >> 20 if "last" in told else told.get("last_bus", 255) + 1 - first
        return told.get("segment", 0), told["base"], first, first + buses - 1

    def ports(self) -> list[int]:
        """Where UARTs are: as the file lists them, or where SPCR or the operating system has its console; else the first."""
        listed, spcr = self.value("acpi.serial_ports", "serial_ports"), self.spcr()
        if listed is not None:
            return listed
        if spcr and spcr[2] and spcr[4]:
            return [spcr[4]]
        console = re.search(r"ttyS([0-3])", str(self.value("acpi.os_console", "os_console")))
        return [PORTS[int(console.group(1))] if console else PORTS[0]]


def c_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"0x{value:x}u" if value <= UNKNOWN else f"UINT64_C(0x{value:x})"


def c_array(kind: str, name: str, rows: list[Any]) -> str:
    body = ", ".join(
        "{" + ", ".join(map(c_value, row)) + "}" if isinstance(row, tuple) else c_value(row) for row in rows
    )
    return f"static const {kind} {name}[] = {{{body}}};\n" if rows else ""


def load(folder: Path) -> list[Board]:
    boards = []
    for path in sorted(folder.glob("*.toml")):
        data = tomllib.loads(path.read_text())
        samples = data.pop("sample", [])
        if set(data) - {"kind", "source"} and not (samples and set(data) <= {"kind", "vendor", "model", "processors"}):
            boards.append(Board(path.stem, [data]))
        boards += [Board(f"{path.stem}/{i}", [data, sample]) for i, sample in enumerate(samples)]
    return boards


def emit(boards: list[Board], header: str) -> str:
    text, rows = [f'#include "{header}"\n'], []
    for i, board in enumerate(boards):
        alike = [b.leaves for b in boards if b.leaves and b.generation == board.generation]
        if max(board.ids, default=0) > 254:  # with so many CPUs, one that offers x2APIC
            alike.sort(key=lambda leaves: not any(row[:2] == (1, 0) and row[4] >> 21 & 1 for row in leaves))
        borrowed = alike[0] if alike else []
        own = {row[:2] for row in board.leaves}
        leaf_1f = board.value("leaf_8000001f")
        if leaf_1f and not borrowed and not own:
            borrowed = next(b.leaves for b in boards if b.leaves)
        leaves = board.leaves + [row for row in borrowed if row[:2] not in own]
        derived = board.value("derived") or {}
        if leaf_1f:
            leaves = [row for row in leaves if row[0] != 0x8000001F] + [(0x8000001F, 0, *leaf_1f)]
        told = leaf_1f or (0x8000001F, 0) in own  # else what the file tells otherwise goes into the borrowed one
        ebx = next((row[3] for row in leaves if row[0] == 0x8000001F), None)
        width = next((row[2] & 0xFF for row in leaves if row[0] == 0x80000008), None)
        c_bit = board.number("c_bit", "derived.c_bit")
        reduction = board.number("reduction", "derived.reduction")
        if ebx is not None and not told:
            ebx = (ebx >> 6 if reduction == UNKNOWN else reduction) << 6 | (ebx & 0x3F if c_bit == UNKNOWN else c_bit)
            leaves = [(*row[:3], ebx, *row[4:]) if row[0] == 0x8000001F else row for row in leaves]
        last, first, count = board.asids()
        if not told and UNKNOWN not in (last, first):
            leaves = [(*row[:4], last, first) if row[0] == 0x8000001F else row for row in leaves]
        reduced = derived.get("phys_bits_with_sme", UNKNOWN)
        if reduced == UNKNOWN and width is not None and reduction != UNKNOWN:
            reduced = width - reduction
        syscfg = board.value("msr.syscfg", "sev.syscfg_example", "syscfg")
        members = {
            "name": f'"{board.name}"',
            "synthetic": c_value(board.name.startswith("synthetic")),
            "syscfg": c_value(syscfg or 0),
            "smee_fixed": c_value(board.value("smee_settable") is False),
            "disabled": c_value(board.value("hotplug_cpus") or 0),
            "madt_length": c_value(board.value("acpi.lengths.APIC") or 0),
            "c_bit": c_value(c_bit),
            "reduction": c_value(reduction),
            "width": c_value(reduced),
            "asids": c_value(last),
            "min_sev_asid": c_value(first),
            "sev_guests": c_value(count),
        }
        if (api := board.api()) is not None:
            members["api"] = "{true, " + ", ".join(map(c_value, api)) + "}"
        if (spcr := board.spcr()) is not None:
            members["spcr"] = "{true, " + ", ".join(map(c_value, spcr)) + "}"
        if (mcfg := board.mcfg()) is not None:
            members["mcfg"] = "{true, " + ", ".join(map(c_value, mcfg)) + "}"
        for member, counted, kind, values in (
            ("map", "map_count", "struct board_range", board.map()),
            ("rmp", "rmp_count", "struct board_span", board.rmp()),
            ("leaves", "leaf_count", "struct board_leaf", leaves),
            ("apic_ids", "cpus", "uint32_t", board.ids),
            ("functions", "function_count", "struct board_function", board.functions),
            ("statuses", "status_count", "struct board_status", board.statuses()),
            ("ports", "port_count", "uint16_t", board.ports()),
        ):
            text.append(c_array(kind, f"{member}_{i}", values))
            members[member] = f"{member}_{i}" if values else "0"
            members[counted] = str(len(values))
        rows.append("    {" + ", ".join(f".{key} = {value}" for key, value in members.items()) + "},\n")
    return (
        "".join(text)
        + f"const struct board boards[] = {{\n{''.join(rows)}}};\nconst uint32_t board_count = {len(rows)};\n"
    )


def main() -> None:
    """boards.py FILE: writes the C there."""
    folder, out = Path(__file__).resolve().parent, Path(sys.argv[1])
    out.write_text(emit(load(folder), os.path.relpath(folder / "boards.h", out.resolve().parent)))


if __name__ == "__main__":
    main()
