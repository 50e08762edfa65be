#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The packer's command line; the work is done in the package pack/ beside this file."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pack import cli, config, files, libvirt, manifest, pe, program, show  # noqa: E402
from pack.errors import PackError  # noqa: E402

DESCRIPTION = """\
Turns a list of guests into a launch program, and puts it into Sevisor's EFI file.

The launch program says which bytes go where in each guest's memory, which of them are measured, and in which state the
guest starts. It becomes the last section of the EFI file; no compiler is needed. For each encrypted guest the packer
prints the launch digest, which the AMD Secure Processor will measure before the guest runs.
"""

EPILOG = (
    """\
guests.toml has a [[guest]] table like this for each guest, and can have a [platform] table. Lines with a # in front, and those with their default, can be left out:

  [[guest]]
  name = "web"                  # unique; 1 to 31 of [a-zA-Z0-9._-]
  memory = "512M"               # a multiple of 2M, with K, M, G or T; at most 1T
  # vcpus = 1                   # 1 to 64
  # pins = [0]                  # the CPU of each vCPU, counted from 0; without it the hypervisor places them
  encryption = "sev"            # "none": plain memory; "host": the hypervisor's key; "sev": a key of its own
  kernel = "vmlinuz"            # a bzImage; paths are relative to this file, ${NAME} in them is what --set gave
  # initrd = "initrd.img"       # kernel and initrd may be compressed, as a distribution has them in /boot
  cmdline = "console=ttyS0"     # the console is the first serial port
  # image = "hello.bin"         # instead of kernel and initrd: a flat binary for 1 MiB, entered in 64-bit mode
  # on_poweroff = "destroy"     # or "restart"; likewise on_reboot, on_crash
  # restarts = 3                # needed with "restart", else left out: how often at most
  # debug = true                # with "none" or "host": may be debugged ("sev": its policy says)
  # snapshot = true             # nested pages of 4 KiB, so that what it never touched need not be saved or sent
  # control = true              # with "none" or "host", one guest: operates the others by the control interface
  # serial = "com2"             # the control guest only: the server's second serial port is its own
  [guest.sev]                   # only with encryption = "sev"
  # policy = 0x1                # as for QEMU; bit 0: the host may not debug it
  # cbitpos = 51                # CPUID 8000_001F EBX[5:0] of the server that will run it, 51 on EPYC 7002 and later, and
  # reduced-phys-bits = 1       # EBX[11:6], at least 1; Sevisor shows both when it starts, in the row "C-bit, reduction"
  # dh-cert = "web_godh.b64"    # both from `owner.py session`, or neither: then nobody can attest the launch
  # session = "web_session.b64" # "at-launch" instead of both: policy, dh-cert and session come by the control guest
  # require-secret = true       # runs only after `owner.py secret`: its archive is the initrd's tail, files in the root
  # secret-address = 0x80d000   # guest-physical, instead of the initrd's tail
  # secret-size = 4096          # bytes of its place; 16384 at most

  [platform]                    # of the machine; once, or not at all
  # sev-firmware = "amd_sev_fam19h_model0xh.sbin"   # AMD's file for the server's family, and its version: loaded at
  # sev-firmware-version = "1.55.29"                # start if it is newer than the running SEV firmware
  # show-pdh = true             # print the platform's certificates at start, for `owner.py session`; key p does so too

examples:
  pack.py guests.toml --efi .build/boot/sevisor.efi -o BOOTX64.EFI   pack; `make efi` builds sevisor.efi
  pack.py guests.toml --efi BOOTX64.EFI -o BOOTX64.EFI      replace what was packed
  pack.py guests.toml --manifest-only -o guests.manifest    the launch program alone
  pack.py --show BOOTX64.EFI                                print it back as text
  virsh dumpxml web > web.xml; pack.py --from-libvirt web.xml -o guests.toml   begin with a domain of libvirt's

"""
    + cli.EXIT_STATUS
)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pack.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("guests", type=Path, nargs="?", metavar="guests.toml", help="what to pack")
    parser.add_argument("--efi", type=Path, metavar="IN.efi", help="the EFI file to put it into (it is not changed)")
    parser.add_argument("--manifest-only", action="store_true", help="write the launch program without an EFI file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="where to write: a file is replaced whole or not at all; a symbolic link is followed, "
                             "a device or FIFO is written to; of the files that are read only IN.efi is replaced")  # fmt: skip
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a packed EFI file or a manifest as text")
    parser.add_argument("--from-libvirt", type=Path, metavar="FILE",
                        help="print a guests.toml for a libvirt domain with launchSecurity type 'sev'; -o writes it, and the "
                             "domain's dhCert and session beside it")  # fmt: skip
    parser.add_argument("--dsdt", type=Path, metavar="FILE",
                        help="the compiled DSDT for Linux guests (default: ${BUILD}/dsdt.aml)")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="variables",
                        help="a value for ${NAME} in paths of guests.toml; there is a default for BUILD only: "
                             "the folder of built guests")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print what was packed")
    parser.add_argument("--changes", action="store_true", help="print what was packed only if FILE changes")
    args = parser.parse_args(argv)
    if args.from_libvirt:
        if args.guests or args.efi or args.show or args.manifest_only:
            parser.error("--from-libvirt stands alone, but for -o")
        return args
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


def show_file(path: Path) -> int:
    try:
        raw = pe.extract_manifest(files.read(path))
        text = show.show(manifest.parse(raw), len(raw), manifest.parse_platform(raw))
    except PackError as error:
        raise named(path, error) from None
    cli.say(text)
    return 0


def from_libvirt(path: Path, output: Path | None) -> int:
    made = libvirt.read(path)
    text = made.pop("")
    if output is None:
        cli.say(text.decode().rstrip("\n"))
        if made:
            cli.warn(f"pack.py: -o writes {' and '.join(made)}, too, which hold the domain's dhCert and session")
        return 0
    written = {output: (text, 0o644)} | {output.parent / name: (data, 0o644) for name, data in made.items()}
    files.write_set(written, overwrite=True)
    cli.say("\n".join(map(str, written)))
    return 0


def named(path: Path, error: PackError) -> PackError:
    """The error, prefixed with the file's name."""
    return error if str(error).startswith(f"{path}: ") else PackError(f"{path}: {error}")


def pack(args: argparse.Namespace) -> int:
    values = variables(args.variables)
    dsdt = args.dsdt or Path(values["BUILD"]) / "dsdt.aml"
    configs, platform = config.read(args.guests, values)
    try:
        guests = [program.build(guest, dsdt) for guest in configs]
        data = manifest.serialise(guests, platform)
    except PackError as error:
        raise PackError(f"{args.guests}: {error}") from None
    output = data
    if args.efi:
        try:
            output = pe.insert_manifest(files.read(args.efi), data)
        except PackError as error:
            raise named(args.efi, error) from None
    changed = files.write(args.output, output, replaces=args.efi)
    if not args.quiet and (changed or not args.changes):
        head = show.platform_lines(platform)
        cli.say("\n\n".join(["\n".join(head)] * bool(head) + [show.summary(guest) for guest in guests]))
        cli.say(f"\n{args.output}: {len(output)} bytes, of which the manifest has {len(data)}")
    return 0


def work(argv: list[str] | None) -> int:
    args = arguments(argv)
    if args.from_libvirt:
        return from_libvirt(args.from_libvirt, args.output)
    return show_file(args.show) if args.show else pack(args)


def main(argv: list[str] | None = None) -> int:
    return cli.call("pack.py", lambda: work(argv))


if __name__ == "__main__":
    sys.exit(main())
