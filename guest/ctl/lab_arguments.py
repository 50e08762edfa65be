# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The command line of lab_commands.py. `add` is arguments.py's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from . import lab_commands as lab

FIRMWARE = """\
Sends one command of the SEV API (AMD document 55766) and shows what the SEV firmware answers. Names of commands and fields are the
document's: `firmware --list` has them. Numbers are decimal or begin with 0x.

FIELD=VALUE   a number, or bytes as hexadecimal digits (mnonce)
FIELD=@FILE   what an address of the command's points to; its length follows from the file
Addresses and lengths of what the command writes are chosen here, unless a length is given: `id_len=0` asks for the right one.
Guest-physical addresses (guest_paddr, src_paddr, dst_paddr) are numbers.

The hypervisor fills in a guest's handle, wants zeros in reserved words, keeps the commands of guests' lives to itself, and refuses what
would destroy SEV guests while some live: it says so, and this tool says what to do.
"""
EXAMPLES = """\
sevisorctl.py firmware GET_ID
  sevisorctl.py firmware GET_ID id_len=0
  sevisorctl.py firmware PEK_CSR -o pek.cert
  sevisorctl.py firmware PEK_CERT_IMPORT pek_paddr=@pek.cert oca_paddr=@oca.cert
  sevisorctl.py firmware GUEST_STATUS --guest web
  sevisorctl.py firmware DBG_DECRYPT --guest web src_paddr=0x100000 len=64 --json
  sevisorctl.py firmware 0x0c --buffer 000003000000000040000000      the buffer as it is; data stand at 0x30000 of the window"""
EXERCISE = """\
A board's acceptance run: sends each command of the SEV API that can be sent now, shows what the SEV firmware answered and the time inside of
the command, and says of each other command why it was not sent.

Without options nothing is changed, and guests notice nothing.
--guest NAME     also what needs a guest: a SEV guest that runs, with a policy without NODBG and NOSEND (0x0), which stands still meanwhile.
                 64 bytes in each of two of its pages are written and restored; with --ca and --cek it is sent to this platform itself, a
                 page, and SEND_CANCEL.
--destructive    also what changes the platform, if no SEV guest lives: new PDH, PEK and OCA; SHUTDOWN; PLATFORM_RESET, after which it has no
                 owner; INIT_EX; INIT. Sessions that owners made before are void.

Exit status: 0 all answers were as expected, 1 some were not, 3 the line broke.
"""


def add_firmware(add, guest_name: Callable[[str], str], guest_address: Callable[[str], int]) -> None:
    def guest(parser: argparse.ArgumentParser, words: str) -> None:
        parser.add_argument("--guest", type=guest_name, metavar="NAME", help=words)

    firmware = add.add("firmware", lab.firmware, "send any command of the SEV API", FIRMWARE, EXAMPLES)
    firmware.add_argument(
        "code", type=lab.command_name, nargs="?", choices=lab.NAMES, metavar="COMMAND", help="its name or number"
    )
    firmware.add_argument(
        "fields", type=lab.assignment, nargs="*", metavar="FIELD=VALUE", help="fields that are not zero"
    )
    guest(firmware, "the guest that it is for")
    firmware.add_argument("--data", type=Path, metavar="FILE", help="what the command reads, if that is one thing")
    firmware.add_argument("--buffer", type=lab.hex_bytes, metavar="HEX", help="the buffer as it is; fields go over it")
    firmware.add_argument("-o", "--output", type=Path, metavar="FILE", help="what it writes, one thing after another")
    firmware.add_argument("--list", action="store_true", help="list the commands, without sending one")
    add.guest("firmware-status", lab.firmware_status, "show what the SEV firmware says of a guest", "Sends GUEST_STATUS.",
              "sevisorctl.py firmware-status web")  # fmt: skip
    exercise = add.add("exercise", lab.exercise, "send every command of the SEV API: a board's acceptance run", EXERCISE,
                       "sevisorctl.py exercise --guest lab --ca ask_ark.cert --cek cek.cert && sevisorctl.py end lab --wait 60 && "
                       "sevisorctl.py exercise --destructive")  # fmt: skip
    guest(exercise, "a SEV guest whose policy allows debugging")
    exercise.add_argument(
        "--address", type=guest_address, metavar="N", help="of the two pages, guest-physical (its last two)"
    )
    exercise.add_argument(
        "--ca", type=Path, metavar="FILE", help="AMD's ASK and ARK of this processor's family, for SEND_START"
    )
    exercise.add_argument(
        "--cek", type=Path, metavar="FILE", help="the CEK's certificate as AMD signed it (see `platform id`)"
    )
    exercise.add_argument("--destructive", action="store_true", help="change the platform, too")
    exercise.add_argument(
        "--image", type=Path, metavar="FILE", help="with --destructive: SEV firmware for DOWNLOAD_FIRMWARE"
    )


def with_rest(parser: argparse.ArgumentParser, args: argparse.Namespace, rest: list[str]) -> argparse.Namespace:
    """Fields that stand behind an option, which argparse leaves over."""
    if rest and (args.command != "firmware" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        for word in rest:
            args.fields.append(lab.assignment(word))
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return args


def add_platform(inner) -> None:
    init = inner.add("init", lab.platform_init, "INIT, or INIT_EX with a state from a file",
                     "INIT, with the state in the board's flash; or INIT_EX, with a state that is kept here. With INIT_EX nothing is written to "
                     "the flash: save the state with `platform state` after each change of keys.",
                     "sevisorctl.py platform shutdown && sevisorctl.py platform init --state board.state")  # fmt: skip
    kind = init.add_mutually_exclusive_group()
    kind.add_argument("--state", type=Path, metavar="FILE", help="as `platform state` wrote it, from this chip")
    kind.add_argument("--blank", action="store_true", help="a new state: new keys, no owner")
    state = inner.add("state", lab.platform_state, "save the platform's state, as INIT_EX takes it", "Saves the platform's state, 32 KiB, as the "
                      "SEV firmware has left it. Only after INIT_EX: otherwise it is in the board's flash.",
                      "sevisorctl.py platform state -o board.state")  # fmt: skip
    state.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to")
    download = inner.add("download", lab.platform_download, "load SEV firmware: DOWNLOAD_FIRMWARE",
                         "Loads SEV firmware until the next power cycle. The platform has to be down: `platform shutdown`. Files are "
                         "AMD's amd_sev_famXXh_modelYYh.sbin, at most 832 KiB; the SEV firmware verifies them.",
                         "sevisorctl.py platform shutdown && sevisorctl.py platform download amd_sev_fam19h_model0xh.sbin && "
                         "sevisorctl.py platform init")  # fmt: skip
    download.add_argument("file", type=Path, metavar="FILE", help="the image")
