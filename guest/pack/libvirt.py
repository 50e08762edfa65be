# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A guests.toml for a libvirt domain with <launchSecurity type='sev'> (https://libvirt.org/formatdomain.html).

The file is somebody else's: document types and with them entities are refused, as libvirt writes none.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from . import files
from .config import NAME, POLICY_ES, POLICY_RESERVED, shown
from .errors import PackError, printable
from .layout import human_size, round_up
from .manifest import DH_CERT_SIZE, MAX_MEMORY, MAX_VCPUS, MEMORY_UNIT, SESSION_SIZE

MAX_XML = 1 << 20
_MAX_DEPTH = 64
_SEV = "launchSecurity"
# What is taken, by its path below <domain>; once each.
_TAKEN = {"name", "memory", "vcpu", "os/type", "os/kernel", "os/initrd", "os/cmdline", _SEV} | {
    f"{_SEV}/{name}" for name in ("policy", "cbitpos", "reducedPhysBits", "dhCert", "session")
}
_LIFE = ("on_poweroff", "on_reboot", "on_crash")
_UNITS = {"b": 1, "bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    unit + more: 1024**power for power, unit in enumerate("kMGT", 1) for more in ("", "iB")
} | {"K": 1024, "KiB": 1024}  # fmt: skip


@dataclass
class _Document:
    """The text and the attributes of the elements that are taken."""

    texts: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    devices: int = 0
    path: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.path and name != "domain":
            raise PackError(f"this is no domain: it begins with <{printable(name[:40])}>")
        self.path.append(name)
        if len(self.path) > _MAX_DEPTH:
            raise PackError(f"this is no domain: elements are nested more than {_MAX_DEPTH} deep")
        where = "/".join(self.path[1:])
        self.devices += len(self.path) == 3 and self.path[1] == "devices"
        if where in _TAKEN or where in _LIFE:
            if where in self.texts:
                raise PackError(f"{where}: is there twice")
            self.texts[where], self.attributes[where] = "", attributes

    def text(self, data: str) -> None:
        where = "/".join(self.path[1:])
        if where in self.texts:
            self.texts[where] += data

    def end(self, name: str) -> None:
        self.path.pop()


def _no_document_type(*_: object) -> None:
    raise PackError("it has a document type (<!DOCTYPE>), which no domain of libvirt's has: entities are not read")


def _parse(data: bytes) -> _Document:
    document, parser = _Document(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.CharacterDataHandler = document.text
    parser.EndElementHandler = document.end
    parser.StartDoctypeDeclHandler = _no_document_type
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: of an unknown encoding
        raise PackError(f"this is not XML: {error}") from None
    return document


def _number(document: _Document, key: str, low: int, high: int, base: int = 10) -> int:
    text = document.texts[key].strip()
    match = re.fullmatch(r"0[xX]([0-9a-fA-F]{1,16})|([0-9]{1,16})", text)
    if match is None:
        raise PackError(f"{key}: must be a number, not {shown(text)}")
    if base == 16 and match[2] and len(match[2].lstrip("0")) > 1:
        raise PackError(f"{key}: {text} could be decimal or hexadecimal: write it with 0x")
    value = int(match[1], 16) if match[1] else int(match[2])
    if not low <= value <= high:
        raise PackError(f"{key}: must be between {low} and {high}, not {text}")
    return value


def _memory(document: _Document) -> tuple[int, str]:
    """Bytes, rounded up as guests.toml wants them; and what was asked for."""
    if "memory" not in document.texts:
        raise PackError("memory: is missing")
    unit = document.attributes["memory"].get("unit", "KiB")
    if unit not in _UNITS:
        raise PackError(f"memory: {shown(unit)} is no unit of libvirt's")
    text = document.texts["memory"].strip()
    if not re.fullmatch("[0-9]{1,16}", text) or int(text) == 0:
        raise PackError(f"memory: must be a number, not {shown(text)}")
    size = round_up(int(text) * _UNITS[unit], MEMORY_UNIT)
    if size > MAX_MEMORY:
        raise PackError(f"memory: {text} {unit} is more than 1T")
    return size, f"{text} {unit}"


def _encoded(document: _Document, key: str, size: int) -> bytes:
    """Base64 text in one line, as QEMU and guests.toml want it in a file; empty: there is none."""
    text = "".join(document.texts.get(f"{_SEV}/{key}", "").split())
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:  # not ASCII, too
        raise PackError(f"{_SEV}: {key}: is not base64 text") from None
    if data and len(data) != size:
        raise PackError(f"{_SEV}: {key}: holds {len(data)} bytes, not {size}")
    return text.encode()


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _path(document: _Document, key: str) -> str:
    text = document.texts[f"os/{key}"].strip()
    if "${" in text:
        raise PackError(f"os: {key}: {shown(text)}: ${{ has a meaning in guests.toml: rename the file")
    return f"{key} = {_quoted(text)}"


def _lines(document: _Document, name: str, sessions: bool) -> list[str]:
    size, asked = _memory(document)
    words = human_size(size).replace(" ", "").replace("iB", "")
    lines = ["[[guest]]", f'name = "{name}"', f'memory = "{words}"']
    if int(asked.split()[0]) * _UNITS[asked.split()[1]] != size:
        lines[-1] += f"  # libvirt: {asked}; rounded up to 2M"
    if "vcpu" in document.texts:
        lines.append(f"vcpus = {_number(document, 'vcpu', 1, MAX_VCPUS)}")
    lines.append('encryption = "sev"')
    if document.texts.get("os/kernel", "").strip():
        lines += [_path(document, key) for key in ("kernel", "initrd") if document.texts.get(f"os/{key}", "").strip()]
    else:
        lines.append(
            "# kernel = ..., initrd = ...: those that the domain's loader finds on its disk; Sevisor starts them directly"
        )
    if document.texts.get("os/cmdline", "").strip():
        lines.append(f"cmdline = {_quoted(document.texts['os/cmdline'].strip())}")
    else:
        lines.append('# cmdline = "console=ttyS0": and what else the kernel needs')
    for key in _LIFE:
        action = document.texts.get(key, "").strip()
        if action == "restart":
            lines.append(f'# {key} = "restart": say with `restarts` how often, at most')
        elif action not in ("", "destroy"):
            lines.append(f"# {key}: {shown(action)} of libvirt's is not there: it is destroyed")

    policy = _number(document, f"{_SEV}/policy", 0, 0xFFFFFFFF, base=16)
    if policy & POLICY_ES:
        raise PackError(f"{_SEV}: policy: {policy:#x} demands SEV-ES (bit 2), which this revision does not launch")
    if policy & POLICY_RESERVED:
        raise PackError(f"{_SEV}: policy: {policy:#x} has reserved bits (15:6) set")
    lines += ["[guest.sev]", f"policy = {policy:#x}"]
    for key, ours, low, high in (("cbitpos", "cbitpos", 32, 51), ("reducedPhysBits", "reduced-phys-bits", 1, 63)):
        if f"{_SEV}/{key}" in document.texts:
            lines.append(f"{ours} = {_number(document, f'{_SEV}/{key}', low, high)}")
    if sessions:
        lines += [f'dh-cert = "{name}_godh.b64"', f'session = "{name}_session.b64"']
    if document.attributes[_SEV].get("kernelHashes") == "yes":
        lines.append("# kernelHashes: not needed: kernel, initrd and command line themselves are measured")
    if document.devices:
        lines.append(f"# not taken: {document.devices} devices; the guest has a serial console")
    return lines


def convert(data: bytes) -> dict[str, bytes]:
    """guests.toml, under the name "", and the files that it names."""
    document = _parse(data)
    name = document.texts.get("name", "").strip()
    if not re.fullmatch(NAME, name):
        raise PackError(f"name: {shown(name)}: guests have 1 to 31 of [a-zA-Z0-9._-], and start with a letter or digit")
    kind = document.attributes.get(_SEV, {}).get("type")
    if kind != "sev":
        found = f"type {shown(kind)}" if kind else "none"
        raise PackError(f"{_SEV}: a domain with type 'sev' is expected; this one has {found}")
    if f"{_SEV}/policy" not in document.texts:
        raise PackError(f"{_SEV}: policy: is missing")
    arch = document.attributes.get("os/type", {}).get("arch", "x86_64")
    if arch != "x86_64":
        raise PackError(f"os: type: its architecture is {shown(arch)}, not x86_64")
    cert, session = _encoded(document, "dhCert", DH_CERT_SIZE), _encoded(document, "session", SESSION_SIZE)
    if bool(cert) != bool(session):
        raise PackError(f"{_SEV}: dhCert and session come together or not at all")
    made = {"": ("\n".join(_lines(document, name, bool(session))) + "\n").encode()}
    if session:
        made |= {f"{name}_godh.b64": cert, f"{name}_session.b64": session}
    return made


def read(path: Path) -> dict[str, bytes]:
    try:
        return convert(files.read(path, MAX_XML))
    except PackError as error:
        raise PackError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from None
