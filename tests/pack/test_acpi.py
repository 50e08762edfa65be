# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest's ACPI tables, judged by iasl and by the specification's offsets."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from pack import acpi

GPA = 0x100000


@pytest.fixture
def block(samples: Path) -> bytes:
    return acpi.build(GPA, 3, (samples / "dsdt.aml").read_bytes())


def tables(block: bytes) -> dict[str, bytes]:
    """As an OS finds them: RSDP, XSDT, FADT, DSDT."""

    def at(gpa: int) -> bytes:
        offset = gpa - GPA
        return block[offset : offset + struct.unpack_from("<I", block, offset + 4)[0]]

    xsdt = at(struct.unpack_from("<Q", block, 24)[0])
    found = {"XSDT": xsdt}
    for (gpa,) in struct.iter_unpack("<Q", xsdt[36:]):
        found[at(gpa)[:4].decode()] = at(gpa)
    found["DSDT"] = at(struct.unpack_from("<Q", found["FACP"], 140)[0])
    return found


def test_every_checksum_is_zero(block: bytes) -> None:
    assert sum(block[:20]) & 0xFF == 0 and sum(block[:36]) & 0xFF == 0
    for name, table in tables(block).items():
        assert sum(table) & 0xFF == 0, name
        assert table[:4].decode() == name


def test_fadt_describes_a_hardware_reduced_machine(block: bytes) -> None:
    fadt = tables(block)["FACP"]
    assert len(fadt) == 276 and fadt[8] == 6
    flags = struct.unpack_from("<I", fadt, 112)[0]
    assert flags & 1 << 20 and flags & 1 << 10  # HW_REDUCED_ACPI, RESET_REG_SUP
    assert fadt[116:129] == struct.pack("<BBBBQB", 1, 8, 0, 1, 0x602, 1)  # RESET_REG, RESET_VALUE
    assert fadt[244:256] == struct.pack("<BBBBQ", 1, 8, 0, 1, 0x600)  # SLEEP_CONTROL_REG
    assert fadt[256:268] == struct.pack("<BBBBQ", 1, 8, 0, 1, 0x601)  # SLEEP_STATUS_REG
    assert not any(fadt[48:108])  # no PM1, GPE
    assert fadt[208:220] == struct.pack("<BBBBQ", 1, 32, 0, 3, 0x608)  # X_PM_TMR_BLK
    assert not any(fadt[148:208]) and not any(fadt[220:244])


def test_madt_has_an_x2apic_entry_per_vcpu_and_nothing_else(block: bytes) -> None:
    madt = tables(block)["APIC"]
    assert madt[44:] == b"".join(struct.pack("<BBHIII", 9, 16, 0, i, 1, i) for i in range(3))


def test_iasl_disassembles_every_table_without_complaint(block: bytes, tmp_path: Path) -> None:
    for name, table in tables(block).items():
        path = tmp_path / f"{name}.aml"
        path.write_bytes(table)
        done = subprocess.run(["iasl", "-d", path], capture_output=True, text=True)
        text = path.with_suffix(".dsl").read_text()
        output = done.stdout + done.stderr + text
        assert done.returncode == 0, output
        for word in ("Warning", "Error", "Invalid", "incorrect", "Unknown"):
            assert word not in output, output
    assert "Hardware Reduced (V5) : 1" in (tmp_path / "FACP.dsl").read_text()
    assert "Processor x2Apic ID : 00000002" in (tmp_path / "APIC.dsl").read_text()
    dsdt = (tmp_path / "DSDT.dsl").read_text()
    assert "PNP0501" in dsdt and "IRQ" not in dsdt and "Interrupt" not in dsdt and "_S5" in dsdt


def test_64_vcpus_fit_into_the_area_that_e820_reserves(samples: Path) -> None:
    assert len(acpi.build(GPA, 64, (samples / "dsdt.aml").read_bytes())) <= 0x10000
