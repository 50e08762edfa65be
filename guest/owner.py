#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's command line: checks a platform, makes session keys for a launch and the secret that it waits for, and
judges measurements and attestation reports. The files are those of sevctl."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import base64  # noqa: E402
import dataclasses  # noqa: E402
import hashlib  # noqa: E402
import hmac  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import uuid  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from owner import certificate, chain, console, packet, report, session  # noqa: E402
from pack import cli, files, manifest, pe  # noqa: E402
from pack.config import POLICY_ES, POLICY_RESERVED  # noqa: E402
from pack.errors import PackError  # noqa: E402
from pack.measure import launch_digest, measure  # noqa: E402

DESCRIPTION = """\
The guest owner's tool. Before the launch, `verify` checks that a platform is AMD's, and `session` makes keys that only
the owner and that platform's AMD Secure Processor know. After the launch, `measurement verify` checks the SEV firmware's
measurement: was the guest started on that platform, as it was packed? Then `secret build` encrypts what this launch alone may
read, such as the key of a disk. At any time, `attestation verify` checks what the platform says of a running guest.
"""

EPILOG = """\
a launch from the owner's side:
  1. get the platform's certificates: what Sevisor's console prints at key p, or at start with show-pdh = true (a log of it
     will do wherever a CHAIN is asked for), or `sevctl export`; the CEK signed by AMD from the address that `export` prints,
     and ASK and ARK for the family of servers from AMD (ask_ark)
  2. owner.py export console.log web.chain --cek cek.cert --ca ask_ark.cert; owner.py verify web.chain
  3. owner.py session --name web web.chain 0x1
       web_godh.b64, web_session.b64     name them in guests.toml as dh-cert and session
       web_tik.bin, web_tek.bin          keep them secret
  4. pack.py guests.toml --efi sevisor.efi -o BOOTX64.EFI, and boot it; Sevisor prints the measurement of the launch,
     with its nonce, and the platform's API version and build
  5. owner.py measurement verify BOOTX64.EFI web --tik web_tik.bin --api-major 1 --api-minor 55 --build-id 31 \\
       --launch-measure-blob MEASUREMENTNONCE
  6. with require-secret: owner.py secret build --tik web_tik.bin --tek web_tek.bin --launch-measure-blob MEASUREMENTNONCE \\
       --file secret.key:disk.key header.bin payload.bin

`owner.py COMMAND --help` explains each command's options.

""" + cli.EXIT_STATUS.replace(
    "says why", "says why; or `measurement verify` finds another measurement"
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


def decimal_or_hex(text: str, highest: int) -> int:
    return number(text, highest, "0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16}")


def policy_number(text: str) -> int:
    return decimal_or_hex(text, 0xFFFFFFFF)


def byte_number(text: str) -> int:
    return decimal_or_hex(text, 255)


def file_by_name(text: str) -> tuple[str, Path]:
    """NAME:FILE, for a file in the guest's root."""
    name, colon, path = text.partition(":")
    if (
        not colon
        or not path
        or not name
        or "/" in name
        or len(name.encode()) > 255
        or "\0" in name
        or name in (".", "..")
    ):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not NAME:FILE, a name in the guest's root and a file of yours"
        )
    return name, Path(path)


def file_by_guid(text: str) -> tuple[uuid.UUID, Path]:
    guid, colon, path = text.partition(":")
    if not colon or not path or not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", guid):
        raise argparse.ArgumentTypeError(f"{text[:50]!r} is not GUID:FILE")
    return uuid.UUID(guid), Path(path)


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


def read_chain(args: argparse.Namespace) -> tuple[chain.Chain, bytes | None]:
    """A chain with what the options add to it, and the chip's id if a log of the console tells it."""
    try:
        data = files.read(args.chain, MAX_LOG)
        identity = console.read(data)
        if identity is None and data[:4] != certificate.VERSION_1:
            raise PackError(
                "there are no certificates in it: press Ctrl-] p on Sevisor's console, or set show-pdh = true in guests.toml"
            )
        found = chain.read(identity.chain if identity else data)
    except PackError as error:
        raise named(args.chain, error) from None
    try:
        if args.cek:
            found = chain.with_cek(found, files.read(args.cek, 1 << 20))
    except PackError as error:
        raise named(args.cek, error) from None
    try:
        if args.ca:
            ask, ark = chain.read_amd(files.read(args.ca, 1 << 20))
            found = dataclasses.replace(found, ask=ask, ark=ark)
    except PackError as error:
        raise named(args.ca, error) from None
    return found, identity.chip if identity else None


def checked_chain(args: argparse.Namespace) -> tuple[chain.Chain, str]:
    """A chain that holds up to AMD's root, or to the given one; and that root in words."""
    found, chip = read_chain(args)
    try:
        root = chain.read_root(files.read(args.root, 1 << 20)) if args.root else None
    except PackError as error:
        raise named(args.root, error) from None
    try:
        return found, chain.trusted(found, root, args.root, chip)
    except PackError as error:
        raise named(args.chain, error) from None


def command_export(args: argparse.Namespace) -> int:
    found, chip = read_chain(args)
    files.write_set({args.file: (found.bytes(), 0o644)}, overwrite=args.force, replaces=args.chain)
    cli.say(
        f"{args.file}: PDH, PEK, OCA, CEK{', ASK, ARK' if found.ask else ''}; chip id {chip.hex() if chip else 'unknown'}"
    )
    if chip and not certificate.signatures(found.cek, certificate.Usage.ASK):
        cli.say(f"the CEK is as the SEV firmware exports it; signed by AMD: {chain.CEK_SERVER}{chip.hex()}")
    return 0


def command_verify(args: argparse.Namespace) -> int:
    found, root = checked_chain(args)
    owner = hashlib.sha256(found.oca[: certificate.SIGNED]).hexdigest()
    cli.say(
        "PDH  signed by the PEK\n"
        "PEK  signed by OCA and CEK\n"
        f"OCA  signed by itself, sha256 {owner}: who owns the platform\n"
        "CEK  signed by the ASK\n"
        "ASK  signed by the ARK\n"
        f"ARK  {root}\n"
        f"{args.chain}: verified"
    )
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
        f"owner.py: the certificate in {args.pdh} was taken as it is; `owner.py verify` checks its chain",
        file=sys.stderr,
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


def launched(args: argparse.Namespace) -> tuple[bytes, int]:
    """Launch digest and policy, of a packed guest or as given."""
    if args.packed is None:
        return bytes_from(args.launch_digest, 32, "--launch-digest"), args.policy
    guest = packed_guest(args.packed, args.guest)
    return launch_digest(guest.steps), guest.policy if args.policy is None else args.policy


def expected(args: argparse.Namespace, nonce: bytes) -> bytes:
    digest, policy = launched(args)
    return measure(
        bytes_from(args.tik, 16, "--tik"), (args.api_major, args.api_minor), args.build_id, policy, digest, nonce
    )


def command_measurement_build(args: argparse.Namespace) -> int:
    if args.nonce is not None:
        nonce = bytes_from(args.nonce, 16, "--nonce")
    else:
        nonce = bytes_from(args.launch_measure_blob, 48, "--launch-measure-blob")[32:]
    blob = expected(args, nonce) + nonce
    if args.outfile:
        files.write(args.outfile, blob)
    else:
        cli.say(base64.b64encode(blob).decode())
    return 0


def command_measurement_verify(args: argparse.Namespace) -> int:
    answer = bytes_from(args.launch_measure_blob, 48, "--launch-measure-blob")
    what = f"guest {args.guest}" if args.guest else "launch"
    if hmac.compare_digest(expected(args, answer[32:]), answer[:32]):
        cli.say(f"{what}: verified: it was launched as {'packed' if args.guest else 'the digest says'}")
        return 0
    cli.say(f"{what}: NOT VERIFIED: the launch differs from the {'packed file' if args.guest else 'digest'}, or policy, SEV "
            "firmware version or keys are not those of the launch")  # fmt: skip
    return 1


def command_secret_build(args: argparse.Namespace) -> int:
    tek, tik = bytes_from(args.tek, 16, "--tek"), bytes_from(args.tik, 16, "--tik")
    blob = bytes_from(args.launch_measure_blob, 48, "--launch-measure-blob")
    iv = bytes_from(args.iv, 16, "--iv") if args.iv else None

    def content(path: Path) -> bytes:
        return files.read(path, manifest.MAX_SECRET)

    if args.file:
        names = [name for name, _ in args.file]
        if len(set(names)) < len(names):
            raise PackError("--file: a name is given twice")
        plain = packet.archive([(name, content(path)) for name, path in args.file])
    elif args.secret:
        plain = packet.table([(guid, content(path)) for guid, path in args.secret])
    else:
        plain = content(args.plain)
    if args.header == args.payload:
        raise PackError(f"{args.header}: header and payload are two files")
    header, payload = packet.seal(tek, tik, blob[:32], plain, iv)
    files.write_set({args.header: (header, 0o644), args.payload: (payload, 0o644)}, overwrite=args.force)
    cli.say(f"{args.header}: {len(header)} bytes\n{args.payload}: {len(payload)} bytes, for this launch alone")
    return 0


def command_attestation_verify(args: argparse.Namespace) -> int:
    nonce = bytes_from(args.mnonce, 16, "--mnonce")
    found, root = checked_chain(args)
    try:
        said = report.read(files.read(args.report, 1 << 20), found.pek)
        if said.nonce != nonce:
            raise PackError("the report answers another request: its MNONCE is not that of --mnonce")
        digest, policy = launched(args)
        if said.digest != digest:
            raise PackError(f"the guest was launched otherwise: its digest is {said.digest.hex()}, not {digest.hex()}")
        if said.policy != policy:
            raise PackError(f"the guest's policy is {said.policy:#x}, not {policy:#x}")
    except PackError as error:
        raise named(args.report, error) from None
    what = f"guest {args.guest}" if args.guest else "a guest with this digest"
    cli.say(f"{args.report}: verified: {what} runs with policy {policy:#x}, says the platform, up to {root}")
    return 0


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

    amd = argparse.ArgumentParser(add_help=False)
    amd.add_argument("--cek", type=Path, metavar="FILE", help=f"the CEK that AMD signed, from {chain.CEK_SERVER}CHIPID")
    amd.add_argument("--ca", type=Path, metavar="FILE", help="AMD's ASK and ARK (ask_ark) for the family of servers")
    judge = argparse.ArgumentParser(add_help=False, parents=[amd])
    judge.add_argument("--root", type=Path, metavar="FILE", help="the ARK to trust, instead of AMD's")

    export = commands.add_parser(
        "export", parents=[amd], help="write certificates into a file, as `sevctl export` does on a Linux host"
    )
    export.add_argument("chain", type=Path, metavar="CHAIN", help="a log of Sevisor's console, or a chain of sevctl's")
    export.add_argument(
        "file", type=Path, metavar="FILE", help="for PDH, PEK, OCA, CEK; with --ca also ASK and ARK, as --full"
    )
    export.add_argument("--force", action="store_true", help="replace FILE")
    export.set_defaults(run=command_export)

    verify = commands.add_parser("verify", parents=[judge], help="check a platform's certificates up to AMD's root")
    verify.add_argument(
        "chain",
        type=Path,
        metavar="CHAIN",
        help="from `owner.py export`, `sevctl export`, or a log of Sevisor's console",
    )
    verify.set_defaults(run=command_verify)

    launch = argparse.ArgumentParser(add_help=False)
    launch.add_argument(
        "--launch-digest", metavar="FILE|BASE64|HEX", help="SHA-256 of what was measured, instead of PACKED and GUEST"
    )
    launch.add_argument(
        "--policy", type=policy_number, help="instead of the policy in PACKED; needed with --launch-digest"
    )
    guest = argparse.ArgumentParser(add_help=False)
    guest.add_argument("packed", type=Path, nargs="?", metavar="PACKED", help=PACKED)
    guest.add_argument("guest", nargs="?", metavar="GUEST", help="the guest's name")
    common = argparse.ArgumentParser(add_help=False, parents=[guest, launch])
    common.add_argument(
        "--tik", required=True, metavar="FILE|BASE64|HEX", help="the session's integrity key, NAME_tik.bin"
    )
    for name, what in (
        ("api-major", "SEV API version"),
        ("api-minor", "SEV API version"),
        ("build-id", "SEV firmware build"),
    ):
        common.add_argument(f"--{name}", type=byte_number, required=True, metavar="N", help=f"the platform's {what}")
    blob = ("--launch-measure-blob",)
    blob_is = {
        "metavar": "FILE|BASE64|HEX",
        "help": "result of LAUNCH_MEASURE, 48 bytes: Sevisor's `measurement`, then its `nonce`",
    }

    measurement = commands.add_parser("measurement", help="build: what a launch must give; verify: compare it")
    kinds = measurement.add_subparsers(required=True, metavar="build|verify")
    build = kinds.add_parser("build", parents=[common], help="print the measurement that a launch must give")
    nonce = build.add_mutually_exclusive_group(required=True)
    nonce.add_argument("--nonce", metavar="FILE|BASE64|HEX", help="MNONCE, 16 bytes, as the SEV firmware chose it")
    nonce.add_argument(*blob, **blob_is)
    build.add_argument(
        "--outfile", type=Path, metavar="FILE", help="write its 48 bytes there, instead of printing base64"
    )
    build.set_defaults(run=command_measurement_build, launch=build)
    compare = kinds.add_parser("verify", parents=[common], help="compare a launch's measurement with the expected one")
    compare.add_argument(*blob, required=True, **blob_is)
    compare.set_defaults(run=command_measurement_verify, launch=compare)

    secret = commands.add_parser("secret", help="build: encrypt a secret for one launch")
    seal = secret.add_subparsers(required=True, metavar="build").add_parser(
        "build", help="encrypt a secret for one launch", formatter_class=raw,
        description="Encrypts a secret for the launch that gave this measurement: check that first, `measurement verify`.",
    )  # fmt: skip
    for name in ("tik", "tek"):
        seal.add_argument(
            f"--{name}", required=True, metavar="FILE|BASE64|HEX", help=f"of the session, NAME_{name}.bin"
        )
    seal.add_argument(*blob, required=True, **blob_is)
    what = seal.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", action="append", type=file_by_name, metavar="NAME:FILE",
                      help="a file in the root of a Linux guest with require-secret, /NAME; can be repeated")  # fmt: skip
    what.add_argument("--secret", action="append", type=file_by_guid, metavar="GUID:FILE",
                      help="an entry of the table that OVMF hands to its guest; can be repeated")  # fmt: skip
    what.add_argument(
        "--plain",
        type=Path,
        metavar="FILE",
        help="as it is, for a guest with secret-address; zeros fill up to 16 bytes",
    )
    seal.add_argument("--iv", help=argparse.SUPPRESS)
    seal.add_argument("header", type=Path, metavar="HEADER", help="where to write the packet's header")
    seal.add_argument("payload", type=Path, metavar="PAYLOAD", help="where to write the encrypted secret")
    seal.add_argument("--force", action="store_true", help="replace HEADER and PAYLOAD")
    seal.set_defaults(run=command_secret_build)

    attestation = commands.add_parser("attestation", help="verify: check the report on a running guest")
    attest = attestation.add_subparsers(required=True, metavar="verify").add_parser(
        "verify", parents=[judge, launch], help="check the report on a running guest up to AMD's root"
    )
    attest.add_argument("report", type=Path, metavar="REPORT", help="result of ATTESTATION, 208 bytes")
    attest.add_argument("chain", type=Path, metavar="CHAIN", help="the platform's certificates, as for `verify`")
    attest.add_argument("packed", type=Path, nargs="?", metavar="PACKED", help=PACKED)
    attest.add_argument("guest", nargs="?", metavar="GUEST", help="the guest's name")
    attest.add_argument("--mnonce", required=True, metavar="FILE|BASE64|HEX",
                        help="the 16 random bytes that were given with the request: an old report has others")  # fmt: skip
    attest.set_defaults(run=command_attestation_verify, launch=attest)

    args = parser.parse_args(argv)
    if hasattr(args, "launch"):
        if (args.packed is None) == (args.launch_digest is None) or (args.packed is None) != (args.guest is None):
            args.launch.error("which launch? give PACKED and GUEST, or --launch-digest and --policy")
        if args.packed is None and args.policy is None:
            args.launch.error("--policy is missing: --launch-digest does not tell it")
    return args


def work(argv: list[str] | None) -> int:
    args = arguments(argv)
    return args.run(args)


def main(argv: list[str] | None = None) -> int:
    return cli.call("owner.py", lambda: work(argv))


if __name__ == "__main__":
    sys.exit(main())
