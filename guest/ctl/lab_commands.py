# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl for those who bring SEV up on boards: any command of the SEV API, the platform's state and firmware, the acceptance run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from pack import cli, files
from pack.errors import PackError

from . import output
from .commands import CERTIFICATE_SIZE, _done, encoded, keep
from .connection import Connection
from .errors import DONE, REFUSED, ControlError, Refused
from .exercise import Exercise, Plan, Row, attempt
from .firmware import ROOM, Answer, Firmware, build
from .sevapi import BUFFER_SIZE, BY_NAME, BY_NUMBER, COMMANDS, STATE_SIZE, Command, Role, Whose, policy_text

_AUTHORITY_SIZES = (2 * 832, 2 * 1600)  # ASK and ARK with keys of 2048 or 4096 bits
_SHOWN = 64  # bytes of what a command has written, on the screen
WHOSE = {
    Whose.HYPERVISOR: "the hypervisor's own", Whose.PLATFORM: "at any time", Whose.IDLE: "while no SEV guest lives",
    Whose.GUEST: "a SEV guest", Whose.HELD: "a guest that is held", Whose.LIVE: "a guest that runs or is paused",
    Whose.PAUSED: "a paused guest", Whose.RECEIVING: "a guest that arrives",
}  # fmt: skip

# ---------------------------------------------------------------- values


class Names(tuple):
    """What completes; numbers are taken as well."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Command | int) or super().__contains__(value)


NAMES = Names(command.name for command in COMMANDS)


def command_name(text: str) -> Command | int:
    known = BY_NAME.get(text.upper().replace("-", "_"))
    if known:
        return known
    if re.fullmatch("0x[0-9a-fA-F]{1,8}|[0-9]{1,9}", text, re.ASCII):
        number = int(text, 0 if text.startswith("0x") else 10)
        return BY_NUMBER.get(number, number)
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is no command of the SEV API: `firmware --list` has them")


def hex_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: give hexadecimal digits, two a byte") from None


def assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: give FIELD=VALUE or FIELD=@FILE")
    return name, value


def _values(command: Command | int, given: list[tuple[str, str]]) -> dict[str, int | bytes]:
    found: dict[str, int | bytes] = {}
    for name, text in given:
        known = command.field(name) if isinstance(command, Command) else None
        if text.startswith("@"):
            found[name] = files.read(Path(text[1:]), ROOM)
        elif known and known.role is Role.BYTES:
            found[name] = hex_bytes(text) if re.fullmatch("(0x)?([0-9a-fA-F]{2})*", text) else b""
        elif re.fullmatch("0x[0-9a-fA-F]{1,16}|[0-9]{1,20}", text, re.ASCII):
            found[name] = int(text, 0 if text.startswith("0x") else 10)
        else:
            raise PackError(f"{name}={text[:40]}: give a number, or @FILE")
    return found


# ---------------------------------------------------------------- one command


def _listed() -> list[dict[str, str | int]]:
    return [
        {"command": one.name, "id": f"{one.number:#04x}", "for": WHOSE[one.whose], "does": one.words, "fields": _fields(one)}
        for one in COMMANDS
    ]  # fmt: skip


def _fields(command: Command) -> str:
    shown = (one for one in command.fields if one.role not in (Role.ZERO, Role.HANDLE, Role.OUT))
    return " ".join(f"{one.name}=@FILE" if one.role in (Role.READS, Role.STATE) else one.name for one in shown)


def list_firmware(args: argparse.Namespace) -> int:
    rows = _listed()
    if args.json:
        output.as_json(rows)
    else:
        cli.say(output.table(rows, ("command", "id", "for", "does")))
    return DONE


def _as_json(answer: Answer, hint: str) -> dict[str, object]:
    return {
        "command": answer.name, "id": answer.number, "reached": answer.reached, "result": answer.result,
        "status": answer.status if answer.reached else None, "name": answer.status_name, "words": answer.words(), "hint": hint,
        "us": answer.us, "buffer": answer.buffer[: answer.command.size if answer.command else BUFFER_SIZE].hex(),
        "fields": answer.values(), "data": {name: data.hex() for name, data in answer.data.items()},
    }  # fmt: skip


def _as_text(answer: Answer, hint: str) -> str:
    size = answer.command.size if answer.command else BUFFER_SIZE
    found = {"command": f"{answer.name} ({answer.number:#04x})", "status": answer.words()}
    if hint:
        found["hint"] = hint
    if answer.reached:
        found |= {"time": f"{answer.us} us", "buffer": answer.buffer[:size].hex()}
        found |= answer.texts()
    for name, data in answer.data.items():
        more = f"... ({len(data)} bytes)" if len(data) > _SHOWN else f" ({len(data)} bytes)"
        found[f"*{name}"] = data[:_SHOWN].hex() + more
    return output.lines({key: value for key, value in found.items() if value})


def firmware(sevisor: Connection, args: argparse.Namespace) -> int:
    if args.code is None:
        raise Refused("which command? `firmware --list` has them")
    data = files.read(args.data, ROOM) if args.data else b""
    request = build(args.code, _values(args.code, args.fields), args.buffer or b"", data)
    bar = output.Progress("data:", len(request.data), args.json)
    work = Firmware(sevisor, max(args.timeout, 120.0))
    try:
        answer = work.send(request, args.guest, bar.at)
    finally:
        bar.close()
    good = answer.reached and answer.status == 0
    hint = "" if answer.reached else work.explain(answer, args.guest)
    if args.output and good:
        keep(args.output, b"".join(answer.data.values()))
    if args.json:
        output.as_json(_as_json(answer, hint))
    else:
        cli.say(_as_text(answer, hint))
    return DONE if good else REFUSED


def _good(work: Firmware, answer: Answer, guest: str | None = None) -> Answer:
    if answer.reached and answer.status == 0:
        return answer
    hint = "" if answer.reached else work.explain(answer, guest)
    raise Refused(f"{answer.name}: {answer.words()}{f' ({hint})' if hint else ''}")


def firmware_status(sevisor: Connection, args: argparse.Namespace) -> int:
    work = Firmware(sevisor)
    answer = _good(work, work.command("GUEST_STATUS", args.name), args.name)
    told, found = sevisor.status(args.name), answer.values()
    if args.json:
        output.as_json(
            {
                "guest": args.name,
                "handle": told.get("handle"),
                **found,
                "state-name": answer.texts()["state"].split()[-1],
            }
        )
        return DONE
    cli.say(output.lines({"guest": args.name, "handle": told.get("handle") or 0, "policy": policy_text(int(found["policy"])),
                          "asid": int(found["asid"]), "state": answer.texts()["state"]}))  # fmt: skip
    return DONE


# ---------------------------------------------------------------- the platform's state and firmware


def platform_state(sevisor: Connection, args: argparse.Namespace) -> int:
    state = sevisor.platform_state()
    keep(args.output, state)
    return _done(
        args, f"{args.output}: {len(state)} bytes: the platform's keys are in it, bound to this chip", file=str(args.output),
        bytes=len(state),
    )  # fmt: skip


def _needs(sevisor: Connection, state: str, what: str, way: str) -> None:
    found = sevisor.platform().get("state")
    if found != state:
        raise Refused(f"the platform is in state {found}; {what} wants {state}: {way}")


def platform_init(sevisor: Connection, args: argparse.Namespace) -> int:
    if not args.state and not args.blank:
        sevisor.platform_command("init")
        return _done(args, "init: done", command="init")
    state = files.read(args.state, STATE_SIZE) if args.state else bytes(STATE_SIZE)
    if len(state) != STATE_SIZE:
        raise PackError(f"{args.state}: has {len(state)} bytes: a state of `platform state` has {STATE_SIZE}")
    _needs(sevisor, "uninit", "INIT_EX", "`platform shutdown` first")
    bar = output.Progress("state:", len(state), args.json)
    try:
        sevisor.init_ex(state, bar.at)
    finally:
        bar.close()
    Firmware(sevisor, max(args.timeout, 120.0)).settle()
    return _done(
        args, "init: done, by INIT_EX; `platform state` saves what the SEV firmware changes from now on", command="init",
        state=str(args.state) if args.state else "blank",
    )  # fmt: skip


def _version(sevisor: Connection) -> tuple[str, tuple[int, ...]]:
    found = sevisor.platform()
    text = f"{found.get('api')} build {found.get('build')}"
    return text, tuple(int(word) for word in re.findall("[0-9]+", text))


def platform_download(sevisor: Connection, args: argparse.Namespace) -> int:
    image = files.read(args.file, ROOM)
    if not image:
        raise PackError(f"{args.file}: is empty")
    _needs(sevisor, "uninit", "DOWNLOAD_FIRMWARE", "`platform shutdown` first")
    before, version = _version(sevisor)
    work = Firmware(sevisor, max(args.timeout, 120.0))
    bar = output.Progress("image:", len(image), args.json)
    try:
        # Before 1.50 it has to be loaded twice to be committed (Linux, sev_update_firmware()).
        for _ in range(2 if version < (1, 50) else 1):
            sevisor.download(image, bar.at)
            work.settle()
    finally:
        bar.close()
    after = _version(sevisor)[0]
    return _done(
        args, f"SEV firmware was {before}, is {after} now; `platform init` goes on", before=before, after=after, bytes=len(image)
    )  # fmt: skip


# ---------------------------------------------------------------- the acceptance run


def _row_text(row: Row) -> str:
    time = "" if row.us is None else f"{row.us / 1000:,.1f} ms"
    mark = "ok" if row.good else "BAD"
    return f"{mark:3}  {row.command:20} {time:>12}  {row.status}{f'  [{row.note}]' if row.note else ''}"


def _summary(found: Exercise, error: ControlError | None) -> Iterator[str]:
    if found.missing:
        yield "not exercised:"
        yield from (f"     {name:20} {why}" for name, why in found.missing.items())
    if error:
        yield f"ended early: {error}"
    bad = sum(not row.good for row in found.rows)
    yield f"{len({row.command for row in found.rows})} of {len(COMMANDS)} commands, {len(found.rows)} times, {bad} bad"


def exercise(sevisor: Connection, args: argparse.Namespace) -> int:
    authority = files.read(args.ca, 1 << 20) if args.ca else None
    if authority is not None and len(authority) not in _AUTHORITY_SIZES:
        raise PackError(f"{args.ca}: is not AMD's ASK followed by its ARK, which have 1664 or 3200 bytes")
    cek = encoded(args.cek, CERTIFICATE_SIZE, "a CEK certificate") if args.cek else None
    plan = Plan(
        args.guest, args.address, authority, cek, args.destructive, files.read(args.image, ROOM) if args.image else None
    )
    found = Exercise(sevisor, plan, (lambda row: None) if args.json else (lambda row: cli.say(_row_text(row))))
    error = attempt(found)
    good = found.good and error is None
    if args.json:
        output.as_json({
            "good": good, "error": str(error) if error else "", "not-exercised": found.missing,
            "commands": [{"command": row.command, "status": row.status, "us": row.us, "good": row.good, "note": row.note} for row in found.rows],
        })  # fmt: skip
    else:
        cli.say("\n".join(_summary(found, error)))
    return DONE if good else error.status if error else REFUSED
