# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A launch program as text, for users and for `diff`."""

from __future__ import annotations

import hashlib

from .layout import human_size
from .manifest import CPU_ANY, REGISTER_NAMES, SEGMENT_NAMES, Action, Encryption, Flag, Guest, Kind, Platform
from .measure import is_measured, launch_digest

_FLAG = {
    Flag.CONTROL: "control = true",
    Flag.SERIAL_COM2: 'serial = "com2"',
    Flag.DEBUG: "debug = true",
    Flag.SNAPSHOT: "snapshot = true",
}
_KIND = {Kind.DATA: "data", Kind.ZERO: "zeros", Kind.SHARED: "shared"}


def steps_table(guest: Guest) -> list[str]:
    sev = guest.encryption == Encryption.SEV
    lines = [f"  {'from':>10} {'to':>10}  {'size':>11}  {'kind':<7} {'measured' if sev else '':<9} what"]
    for step in guest.steps:
        measured = ("yes" if is_measured(step) else "no") if sev else ""
        what = step.label
        if not what and step.data:
            what = f"sha256 {hashlib.sha256(step.data).hexdigest()[:16]}"
        last = step.gpa + step.size - 1
        lines.append(
            f"  {step.gpa:#010x} {last:#010x}  {human_size(step.size):>11}  "
            f"{_KIND[step.kind]:<7} {measured:<9} {what}".rstrip()
        )
    return lines


def _headline(guest: Guest) -> str:
    plural = "s" if guest.vcpus != 1 else ""
    return (
        f"guest {guest.name}: {human_size(guest.memory)}, {guest.vcpus} vCPU{plural}, "
        f"encryption {guest.encryption.name.lower()}"
    )


def _flag_lines(guest: Guest) -> list[str]:
    """What the guest may do, and what it waits for."""
    lines = [f"  {words}" for flag, words in _FLAG.items() if flag in guest.flags]
    if Flag.SESSION_AT_LAUNCH in guest.flags:
        lines.append('  session = "at-launch": the control guest gives policy, certificate and session')
    if Flag.REQUIRE_SECRET in guest.flags:
        lines.append(f"  require-secret = true: up to {guest.secret_size} bytes at {guest.secret_gpa:#x}")
    return lines


def summary(guest: Guest) -> str:
    """The packer's output for a guest."""
    lines = [_headline(guest)]
    if guest.encryption == Encryption.SEV:
        size = sum(step.size for step in guest.steps if is_measured(step))
        lines += [
            f"  launch digest  {guest.launch_digest.hex()}",
            f"  measured       {human_size(size)} in {sum(map(is_measured, guest.steps))} steps; "
            f"policy {guest.policy:#x}, cbitpos {guest.cbitpos}, session {'yes' if guest.session else 'no'}",
        ]
    return "\n".join(lines + _flag_lines(guest) + steps_table(guest))


def _sev_lines(guest: Guest) -> list[str]:
    actual = launch_digest(guest.steps)
    verdict = "matches the steps" if actual == guest.launch_digest else f"WRONG: the steps give {actual.hex()}"
    lines = [
        f"  policy = {guest.policy:#x}",
        f"  cbitpos = {guest.cbitpos}",
        f"  reduced-phys-bits = {guest.reduced_phys_bits}",
    ]
    if guest.session:
        lines += [
            f"  dh-cert: {len(guest.dh_cert)} bytes, sha256 {hashlib.sha256(guest.dh_cert).hexdigest()}",
            f"  session: {len(guest.session)} bytes, sha256 {hashlib.sha256(guest.session).hexdigest()}",
        ]
    return lines + [f"  launch digest {guest.launch_digest.hex()} ({verdict})"]


def full(guest: Guest) -> str:
    """All of a guest's entry in the manifest."""
    lines = [_headline(guest)]
    if guest.encryption == Encryption.SEV:
        lines += _sev_lines(guest)
    lines += _flag_lines(guest)
    if guest.pins:
        names = ("any" if pin == CPU_ANY else str(pin) for pin in guest.pins)
        lines.append(f"  pins = [{', '.join(names)}]")
    actions = [("poweroff", guest.on_poweroff), ("reboot", guest.on_reboot), ("crash", guest.on_crash)]
    lines.append("  " + ", ".join(f"on_{event} = {action.name.lower()}" for event, action in actions))
    if Action.RESTART in (guest.on_poweroff, guest.on_reboot, guest.on_crash):
        lines.append(f"  restarts = {guest.restarts}")
    values = [f"{name}={guest.registers.values[name]:#x}" for name in REGISTER_NAMES if guest.registers.values[name]]
    lines.append("  registers " + " ".join(values))
    for name in SEGMENT_NAMES:
        s = guest.registers.segments[name]
        lines.append(
            f"  {name:<5} selector={s.selector:#06x} attributes={s.attributes:#05x} limit={s.limit:#x} base={s.base:#x}"
        )
    return "\n".join(lines + steps_table(guest))


def platform_lines(platform: Platform) -> list[str]:
    lines = []
    if platform.sev_firmware:
        major, minor, build = platform.sev_firmware_version
        digest = hashlib.sha256(platform.sev_firmware).hexdigest()
        lines.append(
            f"  sev-firmware: {major}.{minor} build {build}, {len(platform.sev_firmware)} bytes, sha256 {digest}"
        )
    if platform.show_pdh:
        lines.append("  show-pdh = true")
    return ["platform:"] + lines if lines else []


def show(guests: list[Guest], size: int, platform: Platform = Platform()) -> str:
    plural = "s" if len(guests) != 1 else ""
    head = [f"manifest: {len(guests)} guest{plural}, {size} bytes"]
    return "\n\n".join(["\n".join(head + platform_lines(platform))] + [full(guest) for guest in guests])
