#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's command line: session keys for a launch, and the measurement that the launch must give."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import base64  # noqa: E402
import hmac  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from owner import certificate, console, session  # noqa: E402
from pack import cli, files, manifest, pe  # noqa: E402
from pack.config import POLICY_ES, POLICY_RESERVED  # noqa: E402
from pack.errors import PackError  # noqa: E402
from pack.measure import launch_digest, measure_guest  # noqa: E402

DESCRIPTION = """\
The guest owner's tool. Before the launch, `session` makes keys that only the owner and one platform's AMD Secure
Processor know. After the launch, `verify` checks the SEV firmware's measurement: was the guest started on that
platform, as it was packed?
"""

EPILOG = """\
a launch from the owner's side:
  1. get the platform's certificates: what Sevisor's console prints at key p, or at start with show-pdh = true (a log of it
     will do: owner.py finds them), or `sevctl export pdh.chain`. Check them: owner.py chain console.log pdh.chain; sevctl verify
  2. owner.py session --name web console.log 0x1
       web_godh.b64, web_session.b64     name them in guests.toml as dh-cert and session
       web_tik.bin, web_tek.bin          keep them secret
  3. pack.py guests.toml --efi sevisor.efi -o BOOTX64.EFI, and boot it; Sevisor prints the measurement of the launch,
     with its nonce, and the platform's API version and build
  4. owner.py verify BOOTX64.EFI web --tik web_tik.bin --api 1.55 --build 31 --measurement MEASUREMENTNONCE

`owner.py COMMAND --help` explains each command's options.

""" + cli.EXIT_STATUS.replace(
    "says why", "says why; or `verify` finds another measurement"
)

MAX_LOG = 1 << 28  # bytes of a console's log

PACKED = "an EFI file or a manifest, as pack.py wrote it"


def bytes_from(text: str, size: int, what: str) -> bytes:
    """From a file of that name, or from base64 or hexadecimal text."""
    data = literal(text, size)
    if data is None:
        data = from_file(text, size, what)
    if len(data) != size:
        raise PackError(f"{what}: {len(data)} bytes instead of {size}")
    return data


def literal(text: str, size: int) -> bytes | None:
    """Decodes base64 or hexadecimal text of the right length; None: it is neither, or a file's name."""
    try:
        is_file = Path(text).exists()
    except (OSError, ValueError):  # longer than a file's name can be
        is_file = False
    try:
        if is_file:
            return None
        return bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
    except ValueError:
        return None


def from_file(text: str, size: int, what: str) -> bytes:
    try:
        return files.read(Path(text), 1 << 20)
    except PackError as error:
        if Path(text).name != text or re.search(r"\.\w+$", text):  # meant as a file's name
            raise PackError(f"{what}: {error}") from None
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise PackError(f"{what}: {shown} is neither a file, nor base64, nor {2 * size} hexadecimal digits") from None


def number(text: str, highest: int, pattern: str = "[0-9]{1,16}") -> int:
    """A number of the command line; decimal, unless the pattern allows 0x."""
    value = int(text, 16 if text[:2].lower() == "0x" else 10) if re.fullmatch(pattern, text, re.ASCII) else -1
    if not 0 <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 0 to {highest:#x}")
    return value


def policy_number(text: str) -> int:
    return number(text, 0xFFFFFFFF, "0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16}")


def api_version(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not dot:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a version such as 1.55")
    return number(major, 255), number(minor, 255)


def build_number(text: str) -> int:
    return number(text, 255)


def base_name(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the beginning of a file's name; --folder says where the files go"
        )
    return text


def named(path: Path, error: PackError) -> PackError:
    """The error, prefixed with the file's name."""
    return error if str(error).startswith(f"{path}: ") else PackError(f"{path}: {error}")


def platform_chain(data: bytes) -> bytes:
    """The certificate chain in a log of the console; else the data itself."""
    identity = console.read(data)
    return identity.chain if identity else data


def command_chain(args: argparse.Namespace) -> int:
    try:
        identity = console.read(files.read(args.log, MAX_LOG))
        if identity is None:
            raise PackError(
                "there are no certificates in it: press Ctrl-] p on Sevisor's console, or set show-pdh = true in guests.toml"
            )
        certificate.decode_pdh(identity.chain)
    except PackError as error:
        raise named(args.log, error) from None
    files.write_set({args.chain: (identity.chain, 0o644)}, overwrite=args.force)
    cli.say(f"{args.chain}: PDH, PEK, OCA, CEK; chip id {identity.chip.hex() if identity.chip else 'unknown'}")
    return 0


def command_session(args: argparse.Namespace) -> int:
    if args.policy & POLICY_ES:
        raise PackError(f"policy {args.policy:#x} demands SEV-ES (bit 2), which Sevisor does not launch yet")
    if args.policy & POLICY_RESERVED:
        raise PackError(f"policy {args.policy:#x} has reserved bits (15:6) set")
    try:
        pdh = certificate.decode_pdh(platform_chain(files.read(args.pdh, MAX_LOG)))
    except PackError as error:
        raise named(args.pdh, error) from None
    secrets = session.Secrets()
    godh, blob = session.make(secrets, pdh, args.policy)
    folder, name = args.folder, args.name
    made = {
        folder / f"{name}_tik.bin": (secrets.tik, 0o600),
        folder / f"{name}_tek.bin": (secrets.tek, 0o600),
        folder / f"{name}_godh.b64": (base64.b64encode(godh), 0o644),
        folder / f"{name}_session.b64": (base64.b64encode(blob), 0o644),
    }
    files.write_set(made, overwrite=args.force)
    cli.say("\n".join(map(str, made)))
    print(
        f"owner.py: the certificate in {args.pdh} was taken as it is; `sevctl verify` checks its chain", file=sys.stderr
    )
    return 0


def packed_guest(path: Path, name: str) -> manifest.Guest:
    try:
        guests = manifest.parse(pe.extract_manifest(files.read(path)))
        found = next((guest for guest in guests if guest.name == name), None)
        if found is None:
            raise PackError(f"there is no guest {name}; there are {', '.join(guest.name for guest in guests)}")
        if found.encryption != manifest.Encryption.SEV:
            raise PackError(f"guest {name} is not encrypted with a key of its own: nothing is measured")
        if launch_digest(found.steps) != found.launch_digest:
            print(
                f"owner.py: warning: guest {name}: the launch digest in the file does not match its content",
                file=sys.stderr,
            )
        return found
    except PackError as error:
        raise named(path, error) from None


def expected(args: argparse.Namespace, nonce: bytes) -> bytes:
    guest = packed_guest(args.packed, args.guest)
    if args.policy is not None:
        guest.policy = args.policy
    return measure_guest(guest, bytes_from(args.tik, 16, "--tik"), args.api, args.build, nonce)


def command_measure(args: argparse.Namespace) -> int:
    nonce = bytes_from(args.nonce, 16, "--nonce")
    cli.say(base64.b64encode(expected(args, nonce) + nonce).decode())
    return 0


def command_verify(args: argparse.Namespace) -> int:
    answer = bytes_from(args.measurement, 48, "--measurement")
    if hmac.compare_digest(expected(args, answer[32:]), answer[:32]):
        cli.say(f"guest {args.guest}: verified: it was launched as packed")
        return 0
    cli.say(f"guest {args.guest}: NOT VERIFIED: the launch differs from the packed file, or policy, SEV firmware version or "
            "keys are not those of the launch")  # fmt: skip
    return 1


def arguments(argv: list[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="owner.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    make = commands.add_parser("session", help="make keys, certificate and session for one guest on one platform")
    make.add_argument("pdh", type=Path, metavar="PDH",
                      help="the platform's PDH certificate, a chain that begins with it, or a log of Sevisor's console")  # fmt: skip
    make.add_argument("policy", type=policy_number, help="the guest's policy, exactly as in guests.toml")
    make.add_argument("--name", type=base_name, default="vm", help="what the files' names begin with (%(default)s)")
    make.add_argument(
        "--folder", type=Path, default=Path("."), metavar="FOLDER", help="where to write the four files (here)"
    )
    make.add_argument(
        "--force", action="store_true", help="replace an earlier set of the same name, all four files or none"
    )
    make.set_defaults(run=command_session)

    chain = commands.add_parser("chain", help="extract the certificates from a log of Sevisor's console into a file")
    chain.add_argument("log", type=Path, metavar="LOG", help="a log of the console, guests' lines included")
    chain.add_argument(
        "chain", type=Path, metavar="FILE", help="where to write PDH, PEK, OCA and CEK, as `sevctl verify` takes them"
    )
    chain.add_argument("--force", action="store_true", help="replace FILE")
    chain.set_defaults(run=command_chain)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("packed", type=Path, metavar="PACKED", help=PACKED)
    common.add_argument("guest", metavar="GUEST", help="the guest's name")
    common.add_argument(
        "--tik", required=True, metavar="FILE|BASE64|HEX", help="the session's integrity key, NAME_tik.bin"
    )
    common.add_argument(
        "--api", type=api_version, required=True, metavar="MAJOR.MINOR", help="the platform's SEV API version"
    )
    common.add_argument(
        "--build", type=build_number, required=True, metavar="N", help="the platform's SEV firmware build"
    )
    common.add_argument("--policy", type=policy_number, help="instead of the policy in the packed file")

    measure = commands.add_parser("measure", parents=[common], help="print the measurement that a launch must give")
    measure.add_argument(
        "--nonce", required=True, metavar="FILE|BASE64|HEX", help="MNONCE, 16 bytes, as the SEV firmware chose it"
    )
    measure.set_defaults(run=command_measure)

    verify = commands.add_parser(
        "verify", parents=[common], help="compare a launch's measurement with the expected one"
    )
    verify.add_argument("--measurement", required=True, metavar="FILE|BASE64|HEX",
                        help="result of LAUNCH_MEASURE, 48 bytes: Sevisor's `measurement`, followed by `nonce`")  # fmt: skip
    verify.set_defaults(run=command_verify)
    return parser.parse_args(argv)


def work(argv: list[str] | None) -> int:
    args = arguments(argv)
    return args.run(args)


def main(argv: list[str] | None = None) -> int:
    return cli.call("owner.py", lambda: work(argv))


if __name__ == "__main__":
    sys.exit(main())
