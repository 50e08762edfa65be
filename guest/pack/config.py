# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Reads guests.toml; an error names the guest, the key, and what is wrong."""

from __future__ import annotations

import base64
import difflib
import errno
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit("Python 3.11 or a later one is needed, which has the module tomllib")

from . import files
from .errors import PackError, printable
from .manifest import (
    CONTROL_WINDOW,
    DH_CERT_SIZE,
    MAX_CPUS,
    MAX_GUESTS,
    MAX_MEMORY,
    MAX_SECRET,
    MAX_SEV_FIRMWARE,
    MAX_VCPUS,
    MEMORY_UNIT,
    NAME_SIZE,
    SECRET_UNIT,
    SESSION_SIZE,
    Action,
    Encryption,
    Flag,
    Platform,
)

GUEST_KEYS = {
    "name", "memory", "vcpus", "pins", "encryption", "kernel", "initrd", "cmdline", "image",
    "on_poweroff", "on_reboot", "on_crash", "restarts", "sev", "control", "serial", "debug", "snapshot",
}  # fmt: skip
PLATFORM_KEYS = {"sev-firmware", "sev-firmware-version", "show-pdh"}
SEV_KEYS = {
    "policy", "cbitpos", "reduced-phys-bits", "dh-cert", "session", "require-secret", "secret-address", "secret-size",
}  # fmt: skip
AT_LAUNCH = "at-launch"  # as `session`: a word, not a file

NAME = rf"[a-zA-Z0-9][a-zA-Z0-9._-]{{0,{NAME_SIZE - 2}}}"
POLICY_ES = 1 << 2
POLICY_NOSEND = 1 << 3
POLICY_RESERVED = 0xFFC0
MAX_TEXT = 4 << 20  # bytes of guests.toml: some 8 KiB for each of the most guests
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass
class SevConfig:
    policy: int
    cbitpos: int
    reduced_phys_bits: int
    dh_cert: bytes
    session: bytes
    flags: Flag  # REQUIRE_SECRET, SESSION_AT_LAUNCH
    secret_gpa: int | None  # None: the initrd's tail
    secret_size: int  # 0: no secret


@dataclass
class GuestConfig:
    name: str
    memory: int
    vcpus: int
    pins: tuple[int, ...]  # a host CPU per vCPU; empty: the hypervisor places them
    encryption: Encryption
    cmdline: str
    kernel: Path | None
    initrd: Path | None
    image: Path | None
    on_poweroff: Action
    on_reboot: Action
    on_crash: Action
    restarts: int
    flags: Flag
    sev: SevConfig | None


def shown(value: Any) -> str:
    """A wrong value for an error message, shortened to one line."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an even longer number, somewhere inside
        return "that"
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Table:
    """One table of the file; every error names the guest and the key."""

    def __init__(self, values: Any, where: str, known: set[str], folder: Path, variables: Mapping[str, str]) -> None:
        if not isinstance(values, dict):
            raise PackError(f"{where} must be a table")
        self.values, self.where, self.folder, self.variables = values, where, folder, variables
        for key in values:
            if key not in known:
                key = key if re.fullmatch(r"[\w.-]{1,40}", key) else shown(key)
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(sorted(known))}"
                raise self.error(key, f"unknown key: {hint}")

    def error(self, key: str, text: str) -> PackError:
        return PackError(f"{self.where}: {key}: {printable(text)}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str):
            raise self.error(key, f"must be text in quotes, not {shown(value)}")
        if "\0" in value:
            raise self.error(key, "must not hold a NUL character")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"must be a whole number, not {shown(value)}")
        if not low <= value <= high:
            raise self.error(key, f"must be between {low} and {high}, not {shown(value)}")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {shown(value)}")
        return value

    def choice(self, key: str, words: dict[str, Any], default: str | None = None) -> Any:
        value = self.text(key, default)
        if value not in words:
            quoted = ", ".join(f'"{word}"' for word in words)
            raise self.error(key, f'must be one of {quoted}, not "{value[:80]}"')
        return words[value]

    def path(self, key: str) -> Path | None:
        """A file; relative to the toml file; ${NAME} stands for what --set gave."""
        if key not in self.values:
            return None

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in self.variables:
                raise self.error(key, f"${{{name}}} has no value: give one with --set {name}=...")
            return self.variables[name]

        text = re.sub(r"\$\{(\w+)\}", replace, self.text(key))
        if not text:
            raise self.error(key, "is empty: name a file, or leave the key out")
        path = self.folder / text
        try:
            kind = path.stat().st_mode
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
            if missing and len(text) > 255:
                raise self.error(
                    key, f"must be the name of a file, not its content: there is no {shown(text)}"
                ) from None
            raise self.error(key, f"there is no file {path}" if missing else files.words(error, path)) from None
        except ValueError:
            raise self.error(key, f"{shown(text)} cannot be the name of a file") from None
        if stat.S_ISDIR(kind):
            raise self.error(key, f"{path} is a folder, not a file")
        return path


def parse_memory(table: _Table) -> int:
    value = table.values.get("memory")
    match = re.fullmatch(r"([0-9]{1,15})([KMGT])(?:iB)?", value) if isinstance(value, str) else None
    if match is None:
        raise table.error("memory", f'must be a size such as "256M" or "2G", not {shown(value)}')
    size = int(match.group(1)) * _UNITS[match.group(2)]
    if size == 0 or size % MEMORY_UNIT != 0:
        raise table.error("memory", f"must be a multiple of 2M, not {value}")
    if size > MAX_MEMORY:
        raise table.error("memory", f"{value} is more than 1T")
    return size


def _read_pins(table: _Table, vcpus: int) -> tuple[int, ...]:
    values = table.values.get("pins")
    if values is None:
        return ()
    if not isinstance(values, list):
        raise table.error("pins", f"must be a list of CPU numbers such as [0, 1], not {shown(values)}")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_CPUS:
            raise table.error("pins", f"must be CPU numbers from 0 to {MAX_CPUS - 1}, not {shown(value)}")
    if len(values) != vcpus:
        raise table.error("pins", f"must have one CPU number per vCPU: there are {len(values)}, and vcpus = {vcpus}")
    return tuple(values)


def _base64_file(table: _Table, key: str, size: int, what: str) -> bytes:
    path = table.path(key)
    if path is None:
        return b""
    try:
        text = files.read(path, 1 << 20).decode("utf-8-sig")
        data = base64.b64decode("".join(text.split()), validate=True)
    except PackError as error:
        raise table.error(key, str(error)) from None
    except ValueError:  # not UTF-8, not ASCII, or not base64
        raise table.error(key, f"{path} is not base64 text") from None
    if len(data) != size:
        raise table.error(key, f"{path} holds {len(data)} bytes; {what} has {size}")
    return data


def _read_secret(table: _Table, has_session: bool) -> tuple[int | None, int]:
    """The secret's place: its address, None for the initrd's tail; its size, 0 for no secret."""
    gpa = table.number("secret-address", 0, 0, MAX_MEMORY - SECRET_UNIT)
    size = table.number("secret-size", 4096, SECRET_UNIT, MAX_SECRET)
    for key, value in (("secret-address", gpa), ("secret-size", size)):
        if value % SECRET_UNIT:
            raise table.error(key, f"must be a multiple of {SECRET_UNIT}, not {value:#x}")
    if table.flag("require-secret"):
        if not has_session:
            raise table.error(
                "require-secret",
                f'needs a session, whose keys protect the secret: give dh-cert and session, or session = "{AT_LAUNCH}"',
            )
        return (gpa if "secret-address" in table.values else None), size
    for key in ("secret-address", "secret-size"):
        if key in table.values:
            raise table.error(key, "is given, but require-secret = true is not")
    return None, 0


def _read_sev(table: _Table, memory: int) -> SevConfig:
    policy = table.number("policy", 1, 0, 0xFFFFFFFF)
    if policy & POLICY_ES:
        raise table.error("policy", f"{policy:#x} demands SEV-ES (bit 2), which this revision does not launch")
    if policy & POLICY_RESERVED:
        raise table.error("policy", f"{policy:#x} has reserved bits (15:6) set")
    cbitpos = table.number("cbitpos", 51, 32, 51)
    if memory > 1 << cbitpos:
        raise table.error("cbitpos", f"the guest's memory reaches bit {cbitpos}")
    dh_cert = _base64_file(table, "dh-cert", DH_CERT_SIZE, "a Diffie-Hellman certificate")
    at_launch = table.values.get("session") == AT_LAUNCH
    if at_launch and dh_cert:
        raise table.error("dh-cert", f'comes at the launch, too, with session = "{AT_LAUNCH}": leave it out')
    session = b"" if at_launch else _base64_file(table, "session", SESSION_SIZE, "a session")
    if bool(dh_cert) != bool(session):
        missing = "session" if dh_cert else "dh-cert"
        raise table.error(missing, "is missing: dh-cert and session come together or not at all")
    reduced = table.number("reduced-phys-bits", 1, 1, 63)
    secret_gpa, secret_size = _read_secret(table, at_launch or bool(session))
    flags = Flag.SESSION_AT_LAUNCH if at_launch else Flag(0)
    flags |= Flag.REQUIRE_SECRET if secret_size else Flag(0)
    return SevConfig(policy, cbitpos, reduced, dh_cert, session, flags, secret_gpa, secret_size)


def _read_flags(table: _Table, encryption: Encryption, memory: int, policy: int) -> Flag:
    flags = Flag(0)
    for key in ("control", "debug", "snapshot"):
        flags |= Flag[key.upper()] if table.flag(key) else Flag(0)
    if table.choice("serial", {"virtual": False, "com2": True}, "virtual"):
        flags |= Flag.SERIAL_COM2
    sev = encryption == Encryption.SEV
    if Flag.CONTROL in flags and sev:
        raise table.error(
            "control", 'the control guest has encryption "host" or "none": its requests lie in plain memory'
        )
    if Flag.CONTROL in flags and memory > CONTROL_WINDOW:
        raise table.error("control", f"the control guest has its window at {CONTROL_WINDOW:#x}: give it 3840M at most")
    if Flag.SERIAL_COM2 in flags and Flag.CONTROL not in flags:
        raise table.error("serial", '"com2" is for the control guest only: control = true')
    if Flag.DEBUG in flags and sev:
        raise table.error("debug", "is for guests without SEV: of this one, its policy decides (bit 0, NODBG)")
    if Flag.SNAPSHOT in flags and policy & POLICY_NOSEND:
        raise table.error("snapshot", f"the guest's policy {policy:#x} forbids that it is sent (bit 3, NOSEND)")
    if Flag.SNAPSHOT in flags and not sev and Flag.DEBUG not in flags:
        raise table.error("snapshot", "of a guest without SEV needs debug = true, too")
    return flags


def _read_guest(values: Any, index: int, folder: Path, variables: Mapping[str, str]) -> GuestConfig:
    name = values.get("name") if isinstance(values, dict) else None
    valid = isinstance(name, str) and re.fullmatch(NAME, name)
    where = f'guest "{name}"' if valid else f"guest number {index + 1}"
    table = _Table(values, where, GUEST_KEYS, folder, variables)

    name = table.text("name")
    if not valid:
        raise table.error("name", f"must have 1 to {NAME_SIZE - 1} of [a-zA-Z0-9._-], and start with a letter or digit")
    encryption = table.choice("encryption", {e.name.lower(): e for e in Encryption})
    memory = parse_memory(table)

    sev = None
    if encryption == Encryption.SEV:
        sev = _read_sev(_Table(values.get("sev", {}), f"{where}: sev", SEV_KEYS, folder, variables), memory)
    elif "sev" in values:
        raise table.error("sev", f'is given, but encryption is "{encryption.name.lower()}"')

    kernel, initrd, image = table.path("kernel"), table.path("initrd"), table.path("image")
    if kernel and image:
        raise table.error("image", "a guest has either a kernel or an image, not both")
    if not kernel and not image:
        raise table.error("kernel", "is missing: a guest needs a kernel (bzImage) or an image (flat binary)")
    if initrd and not kernel:
        raise table.error("initrd", "goes with a kernel, not with an image")
    if sev and sev.secret_size and sev.secret_gpa is None and not kernel:
        raise PackError(
            f"{where}: sev: secret-address: is missing: an image has no initrd whose tail could hold the secret"
        )

    actions = {action.name.lower(): action for action in Action}
    on_poweroff, on_reboot, on_crash = (
        table.choice(key, actions, "destroy") for key in ("on_poweroff", "on_reboot", "on_crash")
    )
    restarts = table.number("restarts", 0, 0, 0xFFFFFFFF)
    restarting = Action.RESTART in (on_poweroff, on_reboot, on_crash)
    if restarting and restarts == 0:
        raise table.error("restarts", 'is missing: say how often "restart" may happen, at most')
    if restarts and not restarting:
        raise table.error("restarts", 'is given, but none of on_poweroff, on_reboot, on_crash is "restart"')
    vcpus = table.number("vcpus", 1, 1, MAX_VCPUS)
    pins = _read_pins(table, vcpus)
    cmdline = table.text("cmdline", "")
    flags = _read_flags(table, encryption, memory, sev.policy if sev else 0) | (sev.flags if sev else Flag(0))
    return GuestConfig(name, memory, vcpus, pins, encryption, cmdline, kernel, initrd, image, on_poweroff, on_reboot,
                       on_crash, restarts, flags, sev)  # fmt: skip


def _read_version(text: str) -> tuple[int, int, int] | None:
    """API major, minor and build, as PLATFORM_STATUS gives them: a byte each; the first is not 0.0.0."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", text, re.ASCII)
    major, minor, build = (int(number) for number in found.groups()) if found else (0, 0, 0)
    return (major, minor, build) if (major, minor, build) > (0, 0, 0) and max(major, minor, build) <= 255 else None


def _read_platform(values: Any, folder: Path, variables: Mapping[str, str]) -> Platform:
    table = _Table(values, "platform", PLATFORM_KEYS, folder, variables)
    path, told = table.path("sev-firmware"), table.text("sev-firmware-version", "")
    image, version = b"", (0, 0, 0)
    if path is None and told:
        raise table.error("sev-firmware-version", "is the version of sev-firmware, which is not there")
    if path is not None:
        try:
            image = files.read(path, MAX_SEV_FIRMWARE)
        except PackError as error:
            raise table.error("sev-firmware", str(error)) from None
        if not image:
            raise table.error("sev-firmware", f"{path} is empty")
        version = _read_version(told) or version
        if version == (0, 0, 0):
            raise table.error(
                "sev-firmware-version",
                'must say which version the file is, API major.minor.build, for example "1.55.29": it is loaded where that is newer',
            )
    return Platform(image, version, table.flag("show-pdh"))


def read(path: Path, variables: Mapping[str, str]) -> tuple[list[GuestConfig], Platform]:
    """The guests and the platform settings of a toml file. Paths in it are relative to its folder."""
    text = files.read_text(path, MAX_TEXT)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise PackError(f"{path}: this is not a list of guests: its values are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"{path}: this is not TOML: {error}") from None
    except ValueError:  # int() takes 4,300 digits at most
        raise PackError(f"{path}: a number in it has thousands of digits") from None

    try:
        for key in document:
            if key not in ("guest", "platform"):
                raise PackError(
                    f"{key[:40]}: unknown key at the top; there are [[guest]] tables and a [platform] table"
                )
        entries = document.get("guest")
        if not isinstance(entries, list) or not entries:
            raise PackError("there is no [[guest]] table")
        if len(entries) > MAX_GUESTS:
            raise PackError(f"there are {len(entries)} guests, {MAX_GUESTS} at most are possible")
        guests = [_read_guest(entry, i, path.parent, variables) for i, entry in enumerate(entries)]
        names = [guest.name for guest in guests]
        for name in names:
            if names.count(name) > 1:
                raise PackError(f'guest "{name}": name: there are {names.count(name)} guests of this name')
        control = [guest.name for guest in guests if Flag.CONTROL in guest.flags]
        if len(control) > 1:
            raise PackError(f'guest "{control[1]}": control: guest "{control[0]}" is the control guest already')
        return guests, _read_platform(document.get("platform", {}), path.parent, variables)
    except PackError as error:
        raise PackError(f"{path}: {error}") from None
