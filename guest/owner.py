#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's command line: session keys for a launch, and the measurement that the launch must give."""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from owner import certificate, session  # noqa: E402
from pack import manifest, pe  # noqa: E402
from pack.config import POLICY_ES, POLICY_RESERVED  # noqa: E402
from pack.errors import PackError  # noqa: E402
from pack.measure import launch_digest, measure_guest  # noqa: E402

DESCRIPTION = """\
The guest owner's tool. Before the launch, `session` makes keys that only the owner and one platform's AMD Secure
Processor know. After the launch, `verify` tells from the firmware's answer whether the guest was started on that
platform, as it was packed.
"""

EPILOG = """\
a launch from the owner's side:
  1. get the platform's PDH certificate (`sevctl export pdh.chain`), and check it: sevctl verify
  2. owner.py session --name web pdh.chain 0x1
       web_godh.b64, web_session.b64     name them in guests.toml as dh-cert and session
       web_tik.bin, web_tek.bin          keep them secret
  3. pack.py guests.toml --efi sevisor.efi -o BOOTX64.EFI, and boot it; Sevisor prints the measurement of the launch
  4. owner.py verify BOOTX64.EFI web --tik web_tik.bin --api 1.55 --build 31 --measurement BASE64
"""

PACKED = "an EFI file or a manifest, as pack.py wrote it"


def bytes_from(text: str, size: int, what: str) -> bytes:
    """From a file of that name, or from base64 or hexadecimal text."""
    if Path(text).is_file():
        data = Path(text).read_bytes()
    else:
        try:
            data = bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise PackError(
                f"{what}: {text} is neither a file, nor base64, nor {2 * size} hexadecimal digits"
            ) from None
    if len(data) != size:
        raise PackError(f"{what}: {len(data)} bytes instead of {size}")
    return data


def policy_number(text: str) -> int:
    try:
        policy = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not 0 <= policy <= 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"{text} does not fit into 32 bits")
    return policy


def api_version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit() and int(major) < 256 and int(minor) < 256):
        raise argparse.ArgumentTypeError(f"{text} is not a version such as 1.55")
    return int(major), int(minor)


def build_number(text: str) -> int:
    if not text.isdigit() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 255")
    return int(text)


def write_files(files: dict[Path, tuple[bytes, int]], force: bool) -> None:
    taken = [str(path) for path in files if path.exists()]
    if taken and not force:
        raise PackError(f"{', '.join(taken)} exists already; --force overwrites")
    for path, (data, mode) in files.items():
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)


def command_session(args: argparse.Namespace) -> int:
    if args.policy & POLICY_ES:
        raise PackError(f"policy {args.policy:#x} demands SEV-ES (bit 2), which Sevisor does not launch yet")
    if args.policy & POLICY_RESERVED:
        raise PackError(f"policy {args.policy:#x} has reserved bits (15:6) set")
    try:
        pdh = certificate.decode_pdh(args.pdh.read_bytes())
    except PackError as error:
        raise PackError(f"{args.pdh}: {error}") from None
    secrets = session.Secrets()
    godh, blob = session.make(secrets, pdh, args.policy)
    folder, name = args.folder, args.name
    files = {
        folder / f"{name}_tik.bin": (secrets.tik, 0o600),
        folder / f"{name}_tek.bin": (secrets.tek, 0o600),
        folder / f"{name}_godh.b64": (base64.b64encode(godh), 0o644),
        folder / f"{name}_session.b64": (base64.b64encode(blob), 0o644),
    }
    write_files(files, args.force)
    print("\n".join(map(str, files)))
    print(
        f"owner.py: the certificate in {args.pdh} was taken as it is; `sevctl verify` checks its chain", file=sys.stderr
    )
    return 0


def packed_guest(path: Path, name: str) -> manifest.Guest:
    try:
        guests = manifest.parse(pe.extract_manifest(path.read_bytes()))
        found = next((guest for guest in guests if guest.name == name), None)
        if found is None:
            raise PackError(f"there is no guest {name}; there are {', '.join(guest.name for guest in guests)}")
        if found.encryption != manifest.Encryption.SEV:
            raise PackError(f"guest {name} is not encrypted with a key of its own: nothing is measured")
        if launch_digest(found.steps) != found.launch_digest:
            print(
                f"owner.py: warning: guest {name}: the file claims a digest that its bytes do not have", file=sys.stderr
            )
        return found
    except PackError as error:
        raise PackError(f"{path}: {error}") from None


def expected(args: argparse.Namespace, nonce: bytes) -> bytes:
    guest = packed_guest(args.packed, args.guest)
    if args.policy is not None:
        guest.policy = args.policy
    return measure_guest(guest, bytes_from(args.tik, 16, "--tik"), args.api, args.build, nonce)


def command_measure(args: argparse.Namespace) -> int:
    nonce = bytes_from(args.nonce, 16, "--nonce")
    print(base64.b64encode(expected(args, nonce) + nonce).decode())
    return 0


def command_verify(args: argparse.Namespace) -> int:
    answer = bytes_from(args.measurement, 48, "--measurement")
    if hmac.compare_digest(expected(args, answer[32:]), answer[:32]):
        print(f"guest {args.guest}: verified: it was launched as packed")
        return 0
    print(f"guest {args.guest}: NOT VERIFIED: the launch differs from the packed file, or policy, firmware version or "
          "keys are not those of the launch")  # fmt: skip
    return 1


def arguments(argv: list[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="owner.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    make = commands.add_parser("session", help="make keys, certificate and session for one guest on one platform")
    make.add_argument(
        "pdh", type=Path, metavar="PDH", help="the platform's PDH certificate, or a chain that begins with it"
    )
    make.add_argument("policy", type=policy_number, help="the guest's policy, exactly as in guests.toml")
    make.add_argument("--name", default="vm", help="what the files' names begin with (%(default)s)")
    make.add_argument("--folder", type=Path, default=Path("."), help="where to write (here)")
    make.add_argument("--force", action="store_true", help="overwrite existing files")
    make.set_defaults(run=command_session)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("packed", type=Path, metavar="PACKED", help=PACKED)
    common.add_argument("guest", metavar="GUEST", help="the guest's name")
    common.add_argument("--tik", required=True, metavar="FILE|BASE64", help="the session's integrity key, NAME_tik.bin")
    common.add_argument(
        "--api", type=api_version, required=True, metavar="MAJOR.MINOR", help="the platform's SEV API version"
    )
    common.add_argument(
        "--build", type=build_number, required=True, metavar="N", help="the platform's SEV firmware build"
    )
    common.add_argument("--policy", type=policy_number, help="instead of the policy in the packed file")

    measure = commands.add_parser("measure", parents=[common], help="print the measurement that a launch must give")
    measure.add_argument(
        "--nonce", required=True, metavar="FILE|BASE64|HEX", help="MNONCE, 16 bytes, as the firmware chose it"
    )
    measure.set_defaults(run=command_measure)

    verify = commands.add_parser(
        "verify", parents=[common], help="compare a launch's measurement with the expected one"
    )
    verify.add_argument("--measurement", required=True, metavar="FILE|BASE64|HEX",
                        help="the 48 bytes that LAUNCH_MEASURE gave: MEASURE, MNONCE")  # fmt: skip
    verify.set_defaults(run=command_verify)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    try:
        return args.run(args)
    except (PackError, OSError) as error:
        print(f"owner.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
