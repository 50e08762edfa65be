# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl's command line: what there is, how it is explained, and how a shell completes it."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from pack import cli

from . import commands, connection, lab_arguments, lab_commands
from .connection import Connection
from .errors import DONE, ControlError
from .transport import FORMS, Address

PROGRAM = "sevisorctl.py"
VARIABLE = "SEVISORCTL_TO"
DEFAULT_TIMEOUT = 30.0
_COMPLETION_TIMEOUT = 2.0

DESCRIPTION = """\
The operator's tool. It lists, launches, pauses and ends Sevisor's guests, shows their consoles, hands over what a guest's owner
sends (session, secret) and fetches what the owner asks for (certificates, measurement, attestation), over the line of
the control guest. Stock gdb can use that line, too: see `debug`.
"""

EPILOG = f"""\
the line, by --to or by the environment's {VARIABLE}:
  --to /dev/ttyUSB0             a serial port, with 115200 bits per second; /dev/ttyUSB0@921600 with others
  --to tcp:bmc.example:4440     a TCP port, e.g. of ser2net or socat. Who reaches it is an operator: protect it
  --to unix:/run/sevisor        a Unix socket

examples:
  export {VARIABLE}=/dev/ttyUSB0
  sevisorctl.py list
  sevisorctl.py launch web --wait 60
  sevisorctl.py console web --follow
  sevisorctl.py send web ls -l
  sevisorctl.py end web && sevisorctl.py wait web ended --seconds 30
  sevisorctl.py status web --json | jq .state
  sevisorctl.py top

a guest that waits for its owner (session = "at-launch" and require-secret = true in guests.toml):
  1. sevisorctl.py platform export -o pdh.chain        the owner checks it, and makes web_godh.b64 and web_session.b64:
                                                       owner.py session --name web pdh.chain 0x1
  2. sevisorctl.py launch web --wait 60                says `session`: the guest waits for it
  3. sevisorctl.py session web --policy 0x1 --dh-cert web_godh.b64 --session web_session.b64
  4. sevisorctl.py wait web held; sevisorctl.py measurement web      the owner verifies it: owner.py measurement verify
  5. sevisorctl.py secret web --header header.bin --data secret.bin  as `owner.py secret build` or sevctl wrote them
  6. sevisorctl.py resume web

completion of commands and guests' names, in bash:
  source <(sevisorctl.py completion bash)

`sevisorctl.py COMMAND --help` explains each command. For programs: from ctl import Connection.

exit status:
  0    done
  1    refused: by the control guest, the hypervisor, the SEV firmware, or a file; one sentence on standard error says why
  2    the command line is wrong
  3    no connection, no answer, or not in time
  130  ended by Ctrl-C; 128 + N by another signal
"""


SNAPSHOT = """\
Saves a SEV guest into a file: private memory encrypted by the SEV firmware for one platform, what the guest shares as it is, and
the state of its vCPUs and devices. The guest stands still meanwhile, and goes on if it ran. Memory that it never touched is
left out.

The file is for one platform, this one or that of --for, and for as long as that keeps its PDH: `platform pdh-gen` there makes all
such files void, and so does a start of the machine, unless the SEV firmware's state is kept. Until then it can be restored again and
again: whoever has the file and that platform can set the guest back to it. The SEV firmware wants the platform's whole chain of
certificates: --cek and --ca add what AMD's server has (`platform id` prints the address), unless CHAIN has it all.
Refused for guests whose policy has NOSEND, or DOMAIN and the platform has another owner.
"""

RESTORE = """\
Lets a guest go on as `snapshot` saved it, in the place of the guest NAME, which has the same memory and vCPUs in this machine's
guests.toml, and does not run. The file is read and checked whole before anything is asked of the machine; nothing of it runs before
the SEV firmware has accepted all of it. Its guest goes on with the time at which it was saved.
"""

MIGRATE = """\
Moves a SEV guest to another Sevisor: its memory goes in rounds while it runs, each what the guest wrote during the one before; then
it is stopped for the rest, and goes on there. A paused guest runs there, too. Its place there is the guest of the same name, or
of --as, with the same memory and vCPUs, which must not run.

At most one machine runs the guest, whatever breaks. What fails before the source has given it away is undone, and the guest runs on
here. If the lines break in the moment in which it is given away, it runs nowhere, and exit status is 3: `migrate NAME --target LINE
--settle` asks both, and lets it run where it is. It believes that the guest that waits there came from here.
The target's certificates are checked up to AMD's root, or to that of --root, before anything is sent.
"""


# ---------------------------------------------------------------- values


def address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:80]!r}: give {FORMS}") from None


def guest_name(text: str) -> str:
    if not connection.is_guest_name(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} cannot be a guest's name: 1 to 31 of [a-zA-Z0-9._-]")
    return text


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds")
    return value


def whole(text: str, highest: int, lowest: int = 0) -> int:
    try:
        value = int(text, 16 if text[:2].lower() == "0x" else 10) if len(text) <= 40 else -1
    except ValueError:
        value = -1
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from {lowest} to {highest:#x}")
    return value


def guest_address(text: str) -> int:
    return whole(text, (1 << 52) - 1)


def policy_number(text: str) -> int:
    return whole(text, 0xFFFFFFFF)


def small_number(text: str) -> int:
    return whole(text, 4095)


def count_number(text: str) -> int:
    return whole(text, 1_000_000, 1)


def size_number(text: str) -> int:
    """With K, M or G."""
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    return whole(text[:-1] if unit else text, (1 << 40) >> unit, 1) << unit


def nonce_bytes(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a nonce: 32 hexadecimal digits")
    return value


# ---------------------------------------------------------------- the commands


class _Commands:
    """Adds commands that all know --to, --timeout and --json, before and after the command's name."""

    def __init__(self, found: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
        self._found, self._common = found, common

    def add(self, name: str, run, words: str, text: str = "", example: str = "") -> argparse.ArgumentParser:
        parser = self._found.add_parser(
            name, parents=[self._common], help=words, description=text or f"{words[0].upper()}{words[1:]}.",
            epilog=f"example:\n  {example}" if example else None, formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        parser.set_defaults(run=run)
        return parser

    def guest(self, name: str, run, words: str, text: str = "", example: str = "") -> argparse.ArgumentParser:
        parser = self.add(name, run, words, text, example)
        parser.add_argument("name", type=guest_name, metavar="NAME", help="the guest's name")
        return parser


def _common(parser: argparse.ArgumentParser, inner: bool) -> None:
    """Options of every command; what stands before the command's name is kept if it does not stand behind it."""
    missing = {"default": argparse.SUPPRESS} if inner else {}
    parser.add_argument("--to", type=address, metavar="LINE", help=f"{FORMS}; without: ${VARIABLE}", **missing)
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help=f"for each answer ({DEFAULT_TIMEOUT:g})",
        **missing or {"default": DEFAULT_TIMEOUT},
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON, numbers as numbers", **missing)


def _guests(add: _Commands) -> None:
    add.add("list", commands.list_guests, "list the guests with their states")
    add.guest("status", commands.status, "show all that is known of a guest")
    waiting = {"type": seconds, "metavar": "SECONDS"}
    launch = add.guest("launch", commands.launch, "launch a guest that is not there, has ended, or was refused",
                       example="sevisorctl.py launch web --wait 60")  # fmt: skip
    launch.add_argument("--wait", **waiting, help="wait until it runs, is held, or waits for its session")
    end = add.guest("end", commands.end, "end a guest, without asking it", "Ends a guest, as if its power was cut. "
                    "To let it shut down by itself: send NAME poweroff.")  # fmt: skip
    end.add_argument("--wait", **waiting, help="wait until it has ended")
    add.guest("pause", commands.pause, "stop all vCPUs of a guest")
    add.guest("resume", commands.resume, "let a paused or held guest run")
    relaunch = add.guest("relaunch", commands.relaunch, "end a guest if it is there, and launch it again")
    relaunch.add_argument("--wait", **waiting, help="for its end (60 without this), and until it runs again")
    wait = add.guest("wait", commands.wait, "wait until a guest is in a state", "Waits until the guest is in one of the states: "
                     + ", ".join(connection.STATES) + ". Exit status 3: it was not in time.",
                     "sevisorctl.py wait web ended refused --seconds 300")  # fmt: skip
    wait.add_argument("states", nargs="+", choices=connection.STATES, metavar="STATE", help="one of several states")
    wait.add_argument("--seconds", **waiting, default=60.0, help="how long (%(default)g)")
    top = add.add("top", commands.show_top, "show the guests' shares of the CPUs and their exits, until Ctrl-C",
                  "Shows each guest's share of one CPU (a guest of two vCPUs has up to 200 %), its exits a second, and their most frequent kind.")  # fmt: skip
    top.add_argument("--interval", type=seconds, default=2.0, metavar="SECONDS", help="between two views (%(default)g)")
    top.add_argument("-n", "--count", type=count_number, metavar="N", help="stop after N views")


def _consoles(add: _Commands) -> None:
    text = "Control characters are shown as escapes on a terminal; a pipe or a file gets the bytes as they are."
    console = add.guest("console", commands.console, "show what a guest printed", f"Shows what a guest printed, as far as it is kept. {text}",
                        "sevisorctl.py console web --follow")  # fmt: skip
    log = add.add("log", commands.log, "show Sevisor's log", f"Shows Sevisor's log, as far as it is kept. {text}")
    for parser in (console, log):
        parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
        parser.add_argument("--raw", action="store_true", help="do not escape: the guest controls this terminal")
    send = add.guest("send", commands.send, "type into a guest's console", "Types a line into a guest's console; without a text, standard input.",
                     "sevisorctl.py send web ls -l /")  # fmt: skip
    send.add_argument("text", nargs=argparse.REMAINDER, metavar="TEXT", help="the line; options stand before NAME")
    send.add_argument("-n", "--no-newline", action="store_true", help="without a newline at its end")
    send.add_argument(
        "--seconds", type=seconds, default=30.0, metavar="SECONDS", help="for the guest to take it (%(default)g)"
    )


def _owners(add: _Commands) -> None:
    add.guest("digest", commands.digest, "print the launch digest that the manifest expects")
    measurement = add.guest("measurement", commands.measurement, "print the measurement of a guest's launch",
                            "Prints LAUNCH_MEASURE's answer with its nonce as base64, as `owner.py measurement verify` takes it.")  # fmt: skip
    measurement.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the 48 bytes there, too")
    attest = add.guest("attest", commands.attest, "fetch an attestation report of a running guest",
                       "Fetches ATTESTATION's report, signed by the platform's PEK. Its owner verifies it.",
                       "sevisorctl.py attest web --nonce 000102030405060708090a0b0c0d0e0f -o report.bin")  # fmt: skip
    attest.add_argument("--nonce", type=nonce_bytes, metavar="HEX", help="the owner's, 16 bytes (random)")
    attest.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to write the 208 bytes")
    session = add.guest("session", commands.session, "give a guest the session that it waits for",
                        "For a guest in state `session`. The files are those of `owner.py session` or `sevctl session`, binary or base64.",
                        "sevisorctl.py session web --policy 0x1 --dh-cert web_godh.b64 --session web_session.b64")  # fmt: skip
    session.add_argument("--policy", type=policy_number, required=True, metavar="N", help="as the session was made for")
    session.add_argument("--dh-cert", type=Path, required=True, metavar="FILE", help="the owner's certificate")
    session.add_argument("--session", type=Path, required=True, metavar="FILE", help="the session")
    secret = add.guest("secret", commands.secret, "give a held guest its secret", "For a guest in state `held`, after its owner has verified "
                       "the measurement. The files are those of `sevctl secret build` or the owner's tool.",
                       "sevisorctl.py secret web --header header.bin --data secret.bin")  # fmt: skip
    secret.add_argument("--header", type=Path, required=True, metavar="FILE", help="52 bytes, binary or base64")
    secret.add_argument("--data", type=Path, required=True, metavar="FILE", help="the encrypted secret, binary")
    secret.add_argument("--address", type=guest_address, metavar="N", help="guest-physical (where guests.toml says)")


def _moving(name: str) -> Callable[[Connection, argparse.Namespace], int]:
    """Needs the cryptography of the owner's tool, which the other commands do without."""

    def run(sevisor: Connection, args: argparse.Namespace) -> int:
        from . import move_commands

        return getattr(move_commands, name)(sevisor, args)

    return run


def _moves(add: _Commands) -> None:
    snapshot = add.guest("snapshot", _moving("snapshot"), "save a running guest, memory and all, into a file", SNAPSHOT,
                         "sevisorctl.py snapshot web web.snapshot --cek cek.cert --ca ask_ark.cert")  # fmt: skip
    snapshot.add_argument("file", type=Path, metavar="FILE", help="replaced whole or not at all; - for a pipe")
    snapshot.add_argument("--for", dest="chain", type=Path, metavar="CHAIN",
                          help="another platform, by its certificates: `platform export` there wrote them (this platform)")  # fmt: skip
    restore = add.guest(
        "restore", _moving("restore"), "let a saved guest go on", RESTORE, "sevisorctl.py restore web web.snapshot"
    )
    restore.add_argument("file", type=Path, metavar="FILE", help="as `snapshot` wrote it; - for a pipe")
    migrate = add.guest("migrate", _moving("migrate"), "move a running guest to another machine", MIGRATE,
                        "sevisorctl.py migrate web --target tcp:other.example:4440 --cek cek.cert --ca ask_ark.cert")  # fmt: skip
    migrate.add_argument(
        "--target", type=address, required=True, metavar="LINE", help="the other machine's control guest"
    )
    migrate.add_argument(
        "--as", dest="there", type=guest_name, metavar="NAME", help="the guest's name there (the same)"
    )
    migrate.add_argument(
        "--paused", action="store_true", help="stop the guest for all of it, not for the last part alone"
    )
    migrate.add_argument("--rounds", type=count_number, metavar="N", help="at most, while it runs (10)")
    migrate.add_argument(
        "--downtime", type=seconds, metavar="SECONDS", help="stop it when the rest takes no longer (1)"
    )
    migrate.add_argument(
        "--settle", action="store_true", help="after a migration that broke: let the guest run where it is"
    )
    for parser in (snapshot, migrate):
        parser.add_argument("--cek", type=Path, metavar="FILE", help="the target's CEK certificate as AMD signed it")
        parser.add_argument("--ca", type=Path, metavar="FILE", help="AMD's ASK and ARK of the target's family")
        parser.add_argument("--root", type=Path, metavar="FILE", help="the ARK to trust, instead of AMD's")
        parser.add_argument(
            "--estimate", action="store_true", help="say how much that is and how long it takes; do nothing"
        )
    for parser in (snapshot, restore, migrate):
        parser.add_argument("--patience", type=seconds, metavar="SECONDS", help="with a line that broke (60)")


def _debugging(add: _Commands) -> None:
    forbidden = "Refused where the guest's policy forbids debugging, and for guests without SEV that lack debug = true."
    dump = add.guest("dump", commands.dump, "copy a part of a guest's memory into a file", f"Copies guest-physical memory into a file. {forbidden}",
                     "sevisorctl.py dump web --address 0x100000 --size 64K -o memory.bin")  # fmt: skip
    dump.add_argument("--address", type=guest_address, required=True, metavar="N", help="guest-physical")
    dump.add_argument("--size", type=size_number, required=True, metavar="N", help="bytes, or with K, M, G")
    dump.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="replaced whole or not at all")
    poke = add.guest("poke", commands.poke, "write a file into a guest's memory", f"Writes guest-physical memory. {forbidden}",
                     "sevisorctl.py poke web --address 0x100000 code.bin")  # fmt: skip
    poke.add_argument("--address", type=guest_address, required=True, metavar="N", help="guest-physical")
    poke.add_argument("file", type=Path, metavar="FILE", help="the bytes")
    registers = add.guest("registers", commands.registers, "show a vCPU's registers", "Shows a vCPU's registers; a running guest stands still "
                          f"meanwhile. {forbidden}")  # fmt: skip
    registers.add_argument("vcpu", type=small_number, nargs="?", default=0, metavar="VCPU", help="counted from 0 (0)")
    add.guest("debug", commands.debug, "print the gdb command that attaches to a guest", example="eval \"$(sevisorctl.py debug web)\"")  # fmt: skip


def _platform(add: _Commands, common: argparse.ArgumentParser) -> None:
    parser = add.add(
        "platform",
        None,
        "the SEV platform: status, certificates, keys",
        example="sevisorctl.py platform export -o pdh.chain",
    )
    inner = _Commands(parser.add_subparsers(dest="action", required=True, metavar="ACTION"), common)
    inner.add("status", commands.platform_status, "show the platform's status")
    export = inner.add("export", commands.platform_export, "write the platform's certificates into a file",
                       "Writes PDH, PEK, OCA, CEK, as `sevctl export`; with --cek and --ca what `sevctl export --full` writes. "
                       "AMD's server has these two: `platform id` prints the CEK's address.",
                       "sevisorctl.py platform export --cek cek.cert --ca ask_ark.cert -o full.chain")  # fmt: skip
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to")
    export.add_argument("--cek", type=Path, metavar="FILE", help="the CEK's certificate as AMD signed it")
    export.add_argument("--ca", type=Path, metavar="FILE", help="AMD's ASK and ARK of the processor's family")
    inner.add("id", commands.platform_id, "print the sockets' chip ids")
    csr = inner.add(
        "pek-csr", commands.platform_pek_csr, "write the PEK into a file, to be signed by the platform's owner"
    )
    csr.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to")
    given = inner.add("pek-import", commands.platform_pek_import, "make the signer of the PEK the platform's owner",
                      "Imports the signed PEK and its signer's certificate. Refused while SEV guests live.")  # fmt: skip
    given.add_argument("--pek", type=Path, required=True, metavar="FILE", help="the PEK of `pek-csr`, signed")
    given.add_argument("--oca", type=Path, required=True, metavar="FILE", help="the signer's certificate")
    for word, words in (
        ("pek-gen", "make a new PEK, and a PDH under it"),
        ("pdh-gen", "make a new PDH: sessions made for the old one are void"),
        ("df-flush", "flush the data fabric, which makes ended guests' ASIDs usable"),
        ("nop", "ask the SEV firmware for nothing: does it answer?"),
        ("shutdown", "SHUTDOWN"),
        ("reset", "PLATFORM_RESET: a new PEK and PDH, the owner is forgotten"),
    ):
        refused = "" if word in ("nop", "df-flush") else " Refused while SEV guests live."
        inner.add(word, commands.platform_command, words, f"{words[0].upper()}{words[1:]}.{refused}").set_defaults(
            word=word
        )
    lab_arguments.add_platform(inner)


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    _common(found, inner=False)
    common = argparse.ArgumentParser(add_help=False)
    _common(common, inner=True)
    add = _Commands(found.add_subparsers(dest="command", required=True, metavar="COMMAND"), common)
    _guests(add)
    _consoles(add)
    _owners(add)
    _moves(add)
    _debugging(add)
    _platform(add, common)
    lab_arguments.add_firmware(add, guest_name, guest_address)
    completion = add.add("completion", None, "print what a shell needs to complete commands and names",
                         "Prints a script for bash. (`completion words -- LINE` is what that script calls.)",
                         "source <(sevisorctl.py completion bash)")  # fmt: skip
    completion.add_argument("what", choices=("bash", "words"), help="bash: the script")
    completion.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    return found


# ---------------------------------------------------------------- completion

BASH = """\
_sevisorctl() {
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" completion words -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -o default -F _sevisorctl sevisorctl sevisorctl.py
"""


def _subparsers(found: argparse.ArgumentParser) -> argparse._SubParsersAction | None:
    return next((action for action in found._actions if isinstance(action, argparse._SubParsersAction)), None)


def _positionals(found: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in found._actions if not action.option_strings]


def _candidates(words: Sequence[str], live: Sequence[str], current: str) -> list[str]:
    """What can stand behind `words`; `live`: names of guests."""
    at, place = parser(), 0  # place: of the next positional
    i = 0
    while i < len(words):
        option = at._option_string_actions.get(words[i])
        if option is not None:
            i += 1 if option.nargs == 0 else 2
            if i > len(words):
                return []  # the option's value
            continue
        inner = _subparsers(at)
        if inner is not None:
            if words[i] not in inner.choices:
                return []
            at, place = inner.choices[words[i]], 0
        elif not words[i].startswith("-"):
            place += 1
        i += 1
    if current.startswith("-"):
        return sorted(option for option in at._option_string_actions if option.startswith("--"))
    inner = _subparsers(at)
    if inner is not None:
        return list(inner.choices)
    positional = _positionals(at)
    action = positional[min(place, len(positional) - 1)] if positional else None
    if action is None:
        return []
    return list(action.choices) if action.choices else list(live) if action.dest == "name" and place == 0 else []


def completions(line: str, live: Sequence[str] | None = None) -> list[str]:
    """For an unfinished command line; guests' names are asked from the live system, unless given."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        return []
    if not words:
        return []
    current = "" if line[-1].isspace() else words.pop()
    words = words[1:]
    found = _candidates(words, ["\0"], current)
    if "\0" in found:
        found = list(live) if live is not None else _names(words)
    return [word for word in found if word.startswith(current)]


def _names(words: Sequence[str]) -> list[str]:
    try:
        to = words[words.index("--to") + 1] if "--to" in words[:-1] else os.environ.get(VARIABLE, "")
        with Connection.open(to, _COMPLETION_TIMEOUT) as sevisor:
            return sevisor.names()
    except (ControlError, ValueError):
        return []


def complete(args: argparse.Namespace) -> int:
    words = completions(args.line) if args.what == "words" else [BASH.rstrip("\n")]
    if words:
        cli.say("\n".join(words))
    return DONE


# ---------------------------------------------------------------- main


def work(argv: Sequence[str] | None) -> int:
    found = parser()
    args = lab_arguments.with_rest(found, *found.parse_known_args(argv))
    if args.command == "completion":
        return complete(args)
    if args.command == "firmware" and args.list:
        return lab_commands.list_firmware(args)
    if args.to is None:
        given = os.environ.get(VARIABLE)
        if not given:
            found.error(f"where is the control guest? give --to {FORMS}, or set {VARIABLE}")
        try:
            args.to = Address.parse(given)
        except ValueError as error:
            found.error(f"{VARIABLE}: {error}")
    try:
        with Connection.open(args.to, args.timeout) as sevisor:
            return args.run(sevisor, args)
    except ControlError as error:
        cli.warn(f"{PROGRAM}: {error}"[:2000])
        return error.status


def main(argv: Sequence[str] | None = None) -> int:
    return cli.call(PROGRAM, lambda: work(argv))
