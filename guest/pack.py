#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The packer's command line; the work is done in the package pack/ beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pack import config, manifest, pe, program, show  # noqa: E402
from pack.errors import PackError  # noqa: E402

DESCRIPTION = """\
Turns a list of guests into a launch program, and puts it into Sevisor's EFI file.

The launch program says which bytes go where in each guest's memory, which of them are measured, and in which state the
guest starts. It becomes the last section of the EFI file; no compiler is needed. For each encrypted guest the packer
prints the launch digest: what the AMD Secure Processor will have measured before the guest runs.
"""

EPILOG = """\
the file of guests:
  [[guest]]
  name = "web"                  # unique; [a-zA-Z0-9._-]
  memory = "512M"               # a multiple of 2M
  vcpus = 2
  # pins = [0, 1]               # the CPU of each vCPU, counted from 0; without it the hypervisor places them
  encryption = "sev"            # "none": plain memory; "host": the hypervisor's key; "sev": a key of its own
  kernel = "vmlinuz"            # a bzImage; paths are relative to this file
  initrd = "initrd.img"
  cmdline = "console=ttyS0"
  # image = "hello.bin"         # instead of kernel and initrd: a flat binary for 1 MiB, entered in 64-bit mode
  on_poweroff = "destroy"       # or "restart"; likewise on_reboot, on_crash
  # restarts = 3                # needed with "restart": how often at most
  [guest.sev]                   # only with encryption = "sev"
  policy = 0x1                  # as for QEMU; 0x1: no debugging by the host
  cbitpos = 51                  # CPUID 8000001F EBX[5:0] of the machine that will run it
  reduced-phys-bits = 1
  dh-cert = "web_godh.b64"      # both from `owner.py session`, or neither
  session = "web_session.b64"

examples:
  pack.py guests.toml --efi sevisor.efi -o BOOTX64.EFI      pack, or replace what was packed
  pack.py guests.toml --manifest-only -o guests.manifest    the launch program alone
  pack.py --show BOOTX64.EFI                                print it back as text
"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pack.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("guests", type=Path, nargs="?", metavar="guests.toml", help="what to pack")
    parser.add_argument("--efi", type=Path, metavar="IN.efi", help="the EFI file to put it into (it is not changed)")
    parser.add_argument("--manifest-only", action="store_true", help="write the launch program without an EFI file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write; never half a file")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a packed EFI file or a manifest as text")
    parser.add_argument("--dsdt", type=Path, metavar="FILE",
                        help="the compiled DSDT for Linux guests (default: ${BUILD}/dsdt.aml)")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="variables",
                        help="a value for ${NAME} in paths of guests.toml; there is a default for BUILD only: "
                             "the folder of built guests")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print what was packed")
    args = parser.parse_args(argv)
    if args.show:
        if args.guests or args.efi or args.output or args.manifest_only:
            parser.error("--show stands alone")
        return args
    if not args.guests:
        parser.error("which guests? give a toml file, or --show FILE")
    if bool(args.efi) == args.manifest_only:
        parser.error("give either --efi IN.efi or --manifest-only")
    if not args.output:
        parser.error("where to? give -o FILE")
    return args


def variables(assignments: list[str]) -> dict[str, str]:
    root = Path(__file__).resolve().parent.parent
    values = {"BUILD": str(root / os.environ.get("BUILD", ".build") / "guest")}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise PackError(f"--set {assignment}: must be NAME=VALUE")
        values[name] = os.path.abspath(value)
    return values


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from None


def write_file(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent or Path("."), prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from None


def show_file(path: Path) -> None:
    try:
        raw = pe.extract_manifest(read_file(path))
        print(show.show(manifest.parse(raw), len(raw)))
    except PackError as error:
        raise PackError(f"{path}: {error}") from None


def pack(args: argparse.Namespace) -> None:
    values = variables(args.variables)
    dsdt = args.dsdt or Path(values["BUILD"]) / "dsdt.aml"
    configs = config.read(args.guests, values)
    try:
        guests = [program.build(guest, dsdt) for guest in configs]
        data = manifest.serialise(guests)
    except PackError as error:
        raise PackError(f"{args.guests}: {error}") from None
    if args.efi:
        try:
            output = pe.insert_manifest(read_file(args.efi), data)
        except PackError as error:
            raise PackError(f"{args.efi}: {error}") from None
    else:
        output = data
    write_file(args.output, output)
    if not args.quiet:
        print("\n\n".join(show.summary(guest) for guest in guests))
        print(f"\n{args.output}: {len(output)} bytes, of which the manifest has {len(data)}")


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    try:
        if args.show:
            show_file(args.show)
        else:
            pack(args)
    except PackError as error:
        print(f"pack.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
