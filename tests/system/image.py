#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Makes a bootable disk image: a GUID partition table with one EFI system partition.

Needs no root, no loop device and no kernel's help: mtools and sgdisk write into a
plain file. The same inputs give the same image, byte for byte: all identifiers,
the volume's serial number and the times are fixed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SECTOR = 512
PARTITION_START = 2048  # sectors: 1 MiB, where partitioning tools put the first one
GPT_BACKUP = 33  # sectors of the backup table at the disk's end
FAT32_MIN_SECTORS = 68 * 2048  # below some 65,525 clusters a volume would be FAT16
DISK_GUID = "5E715080-0000-4000-8000-000000000001"
PARTITION_GUID = "5E715080-0000-4000-8000-000000000002"
VOLUME_SERIAL = "5e715080"
EPOCH = "1767225600"  # 2026-01-01 00:00:00 UTC, unless SOURCE_DATE_EPOCH says otherwise

BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"  # UEFI 2.10 3.5.1.1: the removable media path


def run(*command: str | Path) -> None:
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", EPOCH),
        "MTOOLS_SKIP_CHECK": "1",  # no complaint about a geometry that nobody uses
        "MTOOLSRC": os.devnull,
        "TZ": "UTC",
        "LC_ALL": "C",
    }
    result = subprocess.run(
        [str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed: {(result.stderr or result.stdout).strip()}")


def folders_of(paths: Mapping[str, Path]) -> list[str]:
    """All folders that `paths` need, parents first."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


def make_image(output: Path, files: Mapping[str, Path]) -> None:
    """Writes `output` with `files` (path on the volume → file to copy). Replaces it only when whole."""
    content = sum(path.stat().st_size for path in files.values())
    # An eighth more for the allocation tables and directories, in whole MiB.
    sectors = max(FAT32_MIN_SECTORS, content * 9 // 8 // SECTOR)
    sectors = (sectors + 2047) // 2048 * 2048
    total = PARTITION_START + sectors + 2048
    last = PARTITION_START + sectors - 1
    assert last < total - GPT_BACKUP - 1

    partial = output.with_name(output.name + ".partial")
    partial.unlink(missing_ok=True)
    with partial.open("wb") as disk:
        disk.truncate(total * SECTOR)  # sparse
    try:
        run("sgdisk", f"--disk-guid={DISK_GUID}", f"--new=1:{PARTITION_START}:{last}", "--typecode=1:ef00",
            f"--partition-guid=1:{PARTITION_GUID}", "--change-name=1:EFI system partition", partial)  # fmt: skip
        volume = f"{partial}@@{PARTITION_START * SECTOR}"
        run("mformat", "-i", volume, "-F", "-T", str(sectors), "-h", "64", "-s", "32", "-H", str(PARTITION_START),
            "-N", VOLUME_SERIAL, "-v", "SEVISOR", "::")  # fmt: skip
        for folder in folders_of(files):
            run("mmd", "-i", volume, f"::/{folder}")
        for path, source in sorted(files.items()):
            run("mcopy", "-i", volume, source, f"::/{path}")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def read_file(image: Path, path: str, output: Path) -> None:
    """Copies a file from an image's volume."""
    output.unlink(missing_ok=True)
    run("mcopy", "-i", f"{image}@@{PARTITION_START * SECTOR}", f"::/{path}", output)


def file_argument(text: str) -> tuple[str, Path]:
    path, separator, source = text.partition("=")
    if not separator or not path or path.startswith("/"):
        raise argparse.ArgumentTypeError("write PATH-ON-THE-VOLUME=FILE, the path without a leading slash")
    return path, Path(source)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="write it to a USB stick with: dd if=IMAGE of=/dev/sdX bs=1M conv=fsync",
    )  # fmt: skip
    parser.add_argument("output", type=Path, metavar="IMAGE", help="the disk image to write")
    parser.add_argument("--boot", type=Path, metavar="EFI", help=f"the application to start, as {BOOT_PATH}")
    parser.add_argument("--file", type=file_argument, action="append", default=[], metavar="PATH=FILE",
                        help="another file to put on the volume; may be repeated")  # fmt: skip
    arguments = parser.parse_args()
    files = dict(arguments.file)
    if arguments.boot:
        files[BOOT_PATH] = arguments.boot
    if not files:
        parser.error("nothing to put on the volume: give --boot or --file")
    try:
        make_image(arguments.output, files)
    except (OSError, RuntimeError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(f"image: {arguments.output}: {arguments.output.stat().st_size >> 20} MiB, {', '.join(sorted(files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
