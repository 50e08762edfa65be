#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Makes a bootable disk image: a GUID partition table with one EFI system partition.

It boots from disks with sectors of 512 bytes and of 4,096 bytes ("4Kn"): there is a partition table for either.
Needs no root and no loop device: mtools write into a plain file. The same inputs give the same image, byte for byte:
all identifiers, the volume's serial number and the times are fixed.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import os  # noqa: E402
import stat  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "guest")]

import gpt  # noqa: E402
from pack import cli, files, manifest, pe  # noqa: E402
from pack.errors import PackError  # noqa: E402

MIB = 1 << 20
SECTOR = 512  # of the FAT volume
PARTITION_START = MIB  # where partitioning tools put the first one
FAT_LARGEST = (1 << 32) - 1  # bytes of a file
FAT32_MIN = 68 * MIB  # below some 65,525 clusters a volume would be FAT16
DISK_GUID = "5E715080-0000-4000-8000-000000000001"
PARTITION_GUID = "5E715080-0000-4000-8000-000000000002"
VOLUME_SERIAL = "5e715080"
EPOCH = "1767225600"  # 2026-01-01 00:00:00 UTC, unless SOURCE_DATE_EPOCH says otherwise

BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"  # UEFI 2.10 3.5.1.1: the removable media path


def run(*command: str | Path, volume: int) -> None:
    """One of mtools. `volume`: the image, open, since mtools find an offset, variables and options in a file's name."""
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", EPOCH),
        "MTOOLS_SKIP_CHECK": "1",  # no complaint about a geometry that nobody uses
        "MTOOLSRC": os.devnull,
        "TZ": "UTC",
        "LC_ALL": "C",
    }
    try:
        result = subprocess.run(
            [command[0], "-i", f"/dev/fd/{volume}@@{PARTITION_START}", *command[1:]], env=environment, pass_fds=[volume],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise PackError(f"{command[0]} is missing: install Debian's package mtools") from None
    if result.returncode:
        said = "; ".join((result.stderr or result.stdout).split("\n")).strip("; ")
        raise PackError(f"{command[0]} failed: {said}")


def folders_of(paths: Mapping[str, Path]) -> list[str]:
    """All folders that `paths` need, parents first."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


def check_sources(paths: Mapping[str, Path]) -> int:
    """The bytes of all files together; each must be there and be readable."""
    total = 0
    for path in paths.values():
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                files.note_input(status)
        except OSError as error:
            raise PackError(files.words(error, path)) from None
        if not stat.S_ISREG(status.st_mode):
            raise PackError(f"{path}: this is a device or a FIFO, not a file")
        if status.st_size > FAT_LARGEST:
            raise PackError(
                f"{path}: the file has {status.st_size} bytes, and a FAT volume takes {FAT_LARGEST} at most"
            )
        total += status.st_size
    return total


def make_image(output: Path, sources: Mapping[str, Path]) -> None:
    """Writes `output` with `sources` (path on the volume → file to copy), as files.replacing() does."""
    # An eighth more for the allocation tables and directories, in whole MiB.
    size = -(-max(FAT32_MIN, check_sources(sources) * 9 // 8) // MIB) * MIB
    end = PARTITION_START + size
    tables = gpt.tables(end + MIB, PARTITION_START, end, DISK_GUID, PARTITION_GUID, "EFI system partition")
    with files.replacing(output) as replacement:
        partial = replacement.temporary
        with partial.open("wb") as disk:
            disk.truncate(end + MIB)  # sparse
            for offset, data in tables:
                disk.seek(offset)
                disk.write(data)
            disk.flush()
            volume = disk.fileno()
            run("mformat", "-F", "-T", str(size // SECTOR), "-h", "64", "-s", "32", "-H", str(PARTITION_START // SECTOR),
                "-N", VOLUME_SERIAL, "-v", "SEVISOR", "::", volume=volume)  # fmt: skip
            for folder in folders_of(sources):
                run("mmd", f"::/{folder}", volume=volume)
            for path, source in sorted(sources.items()):
                run("mcopy", os.path.abspath(source), f"::/{path}", volume=volume)  # not "c:x", which is a drive's


def read_file(image: Path, path: str, output: Path) -> None:
    """Copies a file from an image's volume."""
    output.unlink(missing_ok=True)
    try:
        with open(image, "rb") as disk:
            run("mcopy", f"::/{path}", os.path.abspath(output), volume=disk.fileno())
    except PackError as error:
        raise PackError(f"{image}: this is no image that image.py made: {error}") from None


def check_bootable(efi: Path, name: Path) -> None:
    """That the file, which a person called `name`, is Sevisor's, whole and with guests in it, before a firmware has to tell."""
    try:
        data = files.read(efi)
        pe.check(data)
        manifest.parse(pe.extract_manifest(data))
    except PackError as error:
        raise PackError(f"{name}: {str(error).removeprefix(f'{efi}: ')}") from None


def file_argument(text: str) -> tuple[str, Path]:
    path, separator, source = text.partition("=")
    parts = path.split("/")
    if not separator or not source or any(part in ("", ".", "..") for part in parts):
        raise argparse.ArgumentTypeError("write PATH-ON-THE-VOLUME=FILE, the path such as EFI/BOOT/EXTRA.EFI")
    return path, Path(source)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
               "  image.py sevisor.img --boot BOOTX64.EFI           then: dd if=sevisor.img of=/dev/sdX bs=1M conv=fsync\n"
               "  image.py /dev/sdX --boot BOOTX64.EFI              onto the disk itself: all that is on it is lost\n\n"
               + cli.EXIT_STATUS,
    )  # fmt: skip
    parser.add_argument("output", type=Path, metavar="IMAGE", help="the image file to write, or the disk itself")
    parser.add_argument("--boot", type=Path, metavar="EFI",
                        help=f"Sevisor, as pack.py wrote it; it becomes {BOOT_PATH}")  # fmt: skip
    parser.add_argument("--file", type=file_argument, action="append", default=[], metavar="PATH=FILE",
                        help="another file to put on the volume, unchecked; may be repeated")  # fmt: skip
    args = parser.parse_args()
    args.files = args.file + ([(BOOT_PATH, args.boot)] if args.boot else [])
    if not args.files:
        parser.error("nothing to put on the volume: give --boot or --file")
    names = [path.upper() for path, _ in args.files]  # FAT knows no case
    for name in names:
        if names.count(name) > 1:
            parser.error(f"{name} would be on the volume twice")
    return args


def work() -> int:
    args = arguments()
    if args.boot:
        check_bootable(args.boot, args.boot)
    make_image(args.output, dict(args.files))
    size = args.output.stat().st_size if args.output.is_file() else 0
    told = f" {size >> 20} MiB," if size else ""
    cli.say(f"image: {args.output}:{told} {', '.join(sorted(path for path, _ in args.files))}")
    return 0


def main() -> int:
    return cli.call("image.py", work)


if __name__ == "__main__":
    sys.exit(main())
