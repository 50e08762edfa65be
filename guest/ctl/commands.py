# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The commands of sevisorctl: each takes the connection and the command line, and returns the exit status."""

from __future__ import annotations

import argparse
import base64
import codecs
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pack import cli, files
from pack.errors import PackError

from . import connection, output, top
from .connection import CERTIFICATE_SIZE, Connection, Status
from .errors import DONE
from .transport import Address

LIST_COLUMNS = ("guest", "name", "state", "encryption", "vcpus", "memory", "policy", "asid", "launches")
_AUTHORITY_SIZES = (2 * 832, 2 * 1600)  # ASK and ARK with keys of 2048 or 4096 bits
_PUBLIC_KEY = slice(0x10, 0x414)  # of a certificate: SEV API, appendix C
KEYS = "https://kdsintf.amd.com/cek/id/"  # AMD's server: the CEK's certificate, signed by the ASK


def _done(args: argparse.Namespace, words: str, **found: object) -> int:
    """A command that changed something."""
    if args.json:
        output.as_json(found)
    else:
        cli.say(words)
    return DONE


# ---------------------------------------------------------------- files


def encoded(path: Path, size: int, what: str) -> bytes:
    """A file of exactly so many bytes, binary or as base64."""
    data = files.read(path, 1 << 20)
    if len(data) != size:
        try:
            data = base64.b64decode(b"".join(data.removeprefix(codecs.BOM_UTF8).split()), validate=True)
        except ValueError:
            pass
    if len(data) != size:
        raise PackError(f"{path}: {what} has {size} bytes, or these as base64; this file has others")
    return data


def keep(path: Path, data: bytes) -> None:
    files.write(path, data)


# ---------------------------------------------------------------- guests


def list_guests(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.guests()
    if args.json:
        output.as_json(found)
    else:
        columns = [column for column in LIST_COLUMNS if not found or any(column in row for row in found)]
        cli.say(output.table(found, columns))
    return DONE


def status(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.status(args.name)
    if args.json:
        output.as_json(found)
    else:
        cli.say(output.lines(found))
    return DONE


def _show_launch(args: argparse.Namespace) -> tuple[Callable[[Status], None], Callable[[], None]]:
    """Progress of a launch by its status, and what ends the bar."""
    bar: list[output.Progress] = []

    def show(found: Status) -> None:
        done, total = found.get("done"), found.get("total")
        if found.get("state") == "launching" and isinstance(done, int) and isinstance(total, int) and total:
            if not bar:
                bar.append(output.Progress(f"guest {args.name}:", 1000, args.json))
            bar[0].at(min(1000, 1000 * done // total))

    return show, lambda: bar[0].close() if bar else None


def _await(sevisor: Connection, args: argparse.Namespace, *states: str, seconds: float) -> str:
    show, finish = _show_launch(args)
    try:
        return sevisor.wait(args.name, *states, seconds=seconds, progress=show)
    finally:
        finish()


def _launched(sevisor: Connection, args: argparse.Namespace) -> int:
    """After a launch has begun."""
    if not args.wait:
        return _done(args, f"guest {args.name}: is being launched", guest=args.name, state="launching")
    state = _await(sevisor, args, "running", "held", "session", "paused", "ended", "refused", seconds=args.wait)
    if state == "refused":
        raise PackError(
            f"guest {args.name}: refused: {sevisor.status(args.name).get('end-reason') or 'no reason was given'}"
        )
    return _done(args, f"guest {args.name}: {state}", guest=args.name, state=state)


def launch(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.launch(args.name)
    return _launched(sevisor, args)


def relaunch(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.relaunch(args.name, args.wait or 60.0)
    return _launched(sevisor, args)


def end(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.end(args.name)
    if not args.wait:
        return _done(args, f"guest {args.name}: is being ended", guest=args.name, state="ending")
    state = _await(sevisor, args, *connection.STANDING, seconds=args.wait)
    return _done(args, f"guest {args.name}: {state}", guest=args.name, state=state)


def pause(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.pause(args.name)
    return _done(args, f"guest {args.name}: paused", guest=args.name, state="paused")


def resume(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.resume(args.name)
    return _done(args, f"guest {args.name}: runs", guest=args.name, state="running")


def wait(sevisor: Connection, args: argparse.Namespace) -> int:
    state = _await(sevisor, args, *args.states, seconds=args.seconds)
    return _done(args, f"guest {args.name}: {state}", guest=args.name, state=state)


# ---------------------------------------------------------------- consoles


def _stream(found: Iterator[bytes], args: argparse.Namespace, **named: str) -> int:
    shown = output.Stream(args.raw)
    if args.json and not args.follow:
        output.as_json({**named, "text": b"".join(found).decode("utf-8", "backslashreplace")})
        return DONE
    try:
        for data in found:
            if args.json:
                output.as_json({**named, "text": data.decode("utf-8", "backslashreplace")})
            else:
                shown.write(data)
    finally:
        shown.close()
    return DONE


def console(sevisor: Connection, args: argparse.Namespace) -> int:
    return _stream(sevisor.console(args.name, args.follow), args, guest=args.name)


def log(sevisor: Connection, args: argparse.Namespace) -> int:
    return _stream(sevisor.log(args.follow), args)


def send(sevisor: Connection, args: argparse.Namespace) -> int:
    if args.text:
        data = os.fsencode(" ".join(args.text)) + b"\n" * (not args.no_newline)
    else:
        data = sys.stdin.buffer.read(1 << 20)
    sevisor.send(args.name, data, args.seconds)
    return _done(args, f"guest {args.name}: took {len(data)} bytes", guest=args.name, bytes=len(data))


# ---------------------------------------------------------------- encrypted guests


def digest(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.digest(args.name).hex()
    return _done(args, found, guest=args.name, digest=found)


def measurement(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.measurement(args.name)
    text = base64.b64encode(found).decode()
    if args.output:
        keep(args.output, found)
    return _done(args, text, guest=args.name, measurement=text, measure=found[:32].hex(), mnonce=found[32:].hex())


def attest(sevisor: Connection, args: argparse.Namespace) -> int:
    nonce = args.nonce or os.urandom(16)
    report = sevisor.attest(args.name, nonce)
    keep(args.output, report)
    policy = int.from_bytes(report[0x30:0x34], "little")
    return _done(
        args, f"{args.output}: report of guest {args.name} for nonce {nonce.hex()}; not verified",
        guest=args.name, nonce=nonce.hex(), digest=report[0x10:0x30].hex(), policy=policy, file=str(args.output),
    )  # fmt: skip


def session(sevisor: Connection, args: argparse.Namespace) -> int:
    certificate = encoded(args.dh_cert, CERTIFICATE_SIZE, "a certificate")
    blob = encoded(args.session, connection.SESSION_SIZE, "a session")
    sevisor.session(args.name, args.policy, certificate, blob)
    return _done(args, f"guest {args.name}: took the session", guest=args.name, policy=args.policy)


def secret(sevisor: Connection, args: argparse.Namespace) -> int:
    header = encoded(args.header, connection.SECRET_HEADER_SIZE, "a secret's header")
    data = files.read(args.data, 2 * connection.LARGEST_SECRET)
    if not data or len(data) % 16 or len(data) > connection.LARGEST_SECRET:
        raise PackError(f"{args.data}: has {len(data)} bytes: not a multiple of 16, or more than 16 KiB")
    sevisor.secret(args.name, header, data, args.address)
    return _done(
        args, f"guest {args.name}: has the secret; `resume` lets it run", guest=args.name, bytes=len(data)
    )  # fmt: skip


# ---------------------------------------------------------------- debugging


def dump(sevisor: Connection, args: argparse.Namespace) -> int:
    bar = output.Progress(f"{args.name}:", args.size, args.json)
    done = 0
    try:
        with files.replacing(args.output) as result, open(result.temporary, "wb") as file:
            for data in sevisor.dump(args.name, args.address, args.size):
                file.write(data)
                done += len(data)
                bar.at(done)
    finally:
        bar.close()
    return _done(
        args, f"{args.output}: {done} bytes of guest {args.name} from {args.address:#x}",
        guest=args.name, address=args.address, bytes=done, file=str(args.output),
    )  # fmt: skip


def poke(sevisor: Connection, args: argparse.Namespace) -> int:
    data = files.read(args.file, 1 << 30)
    bar = output.Progress(f"{args.name}:", len(data), args.json)
    try:
        sevisor.poke(args.name, args.address, data, bar.at)
    finally:
        bar.close()
    return _done(
        args, f"guest {args.name}: {len(data)} bytes written to {args.address:#x}",
        guest=args.name, address=args.address, bytes=len(data),
    )  # fmt: skip


def registers(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.registers(args.name, args.vcpu)
    if args.json:
        output.as_json(found)
    else:
        cli.say(
            output.lines({key: f"{value:#018x}" for key, value in found.items() if value is not None})
            or f"guest {args.name}: no register is available"
        )
    return DONE


def gdb_command(to: Address, process: int) -> list[str]:
    if to.kind == "tty":
        target = [f"set serial baud {to.number}", f"target extended-remote {to.where}"]
    elif to.kind == "tcp":
        host = f"[{to.where}]" if ":" in to.where else to.where
        target = [f"target extended-remote tcp:{host}:{to.number}"]
    else:
        target = [f"target extended-remote {os.path.abspath(to.where)}"]
    return ["gdb", *(word for line in [*target, f"attach {process}"] for word in ("-ex", line))]


def debug(sevisor: Connection, args: argparse.Namespace) -> int:
    process = sevisor.process(args.name)
    command = gdb_command(args.to, process)
    return _done(args, shlex.join(command), guest=args.name, process=process, command=command)


# ---------------------------------------------------------------- platform


def platform_status(sevisor: Connection, args: argparse.Namespace) -> int:
    found = sevisor.platform()
    if args.json:
        output.as_json(found)
    else:
        cli.say(output.lines(found))
    return DONE


def platform_export(sevisor: Connection, args: argparse.Namespace) -> int:
    """As `sevctl export` writes it: PDH, PEK, OCA, CEK; with the CA's as `sevctl export --full`: then ASK, ARK."""
    signed = encoded(args.cek, CERTIFICATE_SIZE, "a CEK certificate") if args.cek else None
    authority = files.read(args.ca, 1 << 20) if args.ca else b""
    if args.ca and len(authority) not in _AUTHORITY_SIZES:
        raise PackError(f"{args.ca}: is not AMD's ASK followed by its ARK, which have 1664 or 3200 bytes")
    pdh, rest = sevisor.pdh(), sevisor.chain()
    own = rest[2 * CERTIFICATE_SIZE :]
    if signed is not None and signed[_PUBLIC_KEY] != own[_PUBLIC_KEY]:
        raise PackError(f"{args.cek}: is the certificate of another chip's CEK")
    keep(args.output, pdh + rest[: 2 * CERTIFICATE_SIZE] + (signed or own) + authority)
    contents = ["PDH", "PEK", "OCA", "CEK", *(("ASK", "ARK") if authority else ())]
    return _done(
        args, f"{args.output}: {', '.join(contents)}", file=str(args.output), certificates=contents
    )  # fmt: skip


def platform_id(sevisor: Connection, args: argparse.Namespace) -> int:
    chips = [chip.hex() for chip in sevisor.chips()]
    found = [{"socket": i, "id": chip, "cek": f"{KEYS}{chip}"} for i, chip in enumerate(chips)]
    if args.json:
        output.as_json(found)
    else:
        cli.say("\n".join(f"socket {i}: {chip}\n  signed CEK: {KEYS}{chip}" for i, chip in enumerate(chips)))
    return DONE


def platform_pek_csr(sevisor: Connection, args: argparse.Namespace) -> int:
    keep(args.output, sevisor.pek_csr())
    return _done(args, f"{args.output}: the PEK, to be signed", file=str(args.output))


def platform_pek_import(sevisor: Connection, args: argparse.Namespace) -> int:
    pek = encoded(args.pek, CERTIFICATE_SIZE, "the signed PEK")
    sevisor.pek_import(pek, encoded(args.oca, CERTIFICATE_SIZE, "the OCA's certificate"))
    return _done(args, "the platform is owned externally now", owner="external")


def platform_command(sevisor: Connection, args: argparse.Namespace) -> int:
    sevisor.platform_command(args.word)
    return _done(args, f"{args.word}: done", command=args.word)


# ---------------------------------------------------------------- top


def show_top(sevisor: Connection, args: argparse.Namespace) -> int:
    """Until Ctrl-C, or as often as asked."""
    live = sys.stdout.isatty() and not args.json
    before = top.sample(sevisor)
    count = 0
    while args.count is None or count < args.count:
        time.sleep(args.interval)
        after = top.sample(sevisor)
        rows = top.rates(before, after)
        if args.json:
            output.as_json(
                {"seconds": round(top.seconds(before, after), 3), "cpus": after.platform.get("cpus"), "guests": rows}
            )
        else:
            text = top.text(before, after, rows)
            cli.say(f"\x1b[H\x1b[2J{text}" if live else f"{text}\n")
        before, count = after, count + 1
    return DONE
