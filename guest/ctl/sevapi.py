# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The commands of the SEV API: numbers, fields, statuses, and for whom the hypervisor sends them.

As in AMD document 55766, in its order; what only SEV-SNP has is not here. A test holds this against psp/, which was typed from it
separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

BUFFER_SIZE = 80  # room for any command's buffer
CERT_SIZE, CHAIN_SIZE, SESSION_SIZE, HEADER_SIZE, REPORT_SIZE, ID_SIZE = 2084, 3 * 2084, 128, 52, 208, 256
STATE_SIZE = 0x8000
PAGE = 4096


class Role(Enum):
    NUMBER = "in"
    OUT = "out"
    BYTES = "bytes"
    HANDLE = "handle"  # the hypervisor fills it in
    ZERO = "zero"  # reserved, or the hypervisor gives no choice
    LENGTH = "length"  # of what an address points to
    READS = "reads"  # address: what the command reads
    WRITES = "writes"  # address: what it writes
    READS_GUEST = "reads-guest"  # guest-physical address
    WRITES_GUEST = "writes-guest"
    STATE = "state"  # address: INIT_EX's


class Whose(IntEnum):
    """psp/psp.h, enum psp_class."""

    HYPERVISOR = 0
    PLATFORM = 1
    IDLE = 2
    GUEST = 3
    HELD = 4
    LIVE = 5
    PAUSED = 6
    RECEIVING = 7


@dataclass(frozen=True)
class Field:
    name: str
    at: int
    size: int
    role: Role
    length: str = ""  # of an address: the field with its length; "": a page
    room: int = 0  # of what is written, usually


@dataclass(frozen=True)
class Command:
    name: str
    number: int
    size: int
    whose: Whose
    states: str  # of the platform: U(ninit), I(nit), W(orking)
    words: str
    fields: tuple[Field, ...] = ()
    forbidden: int = 0  # policy bits

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


def _fields(*given: Field) -> tuple[Field, ...]:
    return given


def _number(name: str, at: int, size: int = 4) -> Field:
    return Field(name, at, size, Role.NUMBER)


def _out(name: str, at: int, size: int = 4) -> Field:
    return Field(name, at, size, Role.OUT)


def _zero(name: str, at: int, size: int = 4) -> Field:
    return Field(name, at, size, Role.ZERO)


def _length(name: str, at: int) -> Field:
    return Field(name, at, 4, Role.LENGTH)


def _address(role: Role, name: str, at: int, length: str = "", room: int = 0) -> Field:
    return Field(name, at, 8, role, length, room)


_HANDLE = Field("handle", 0x00, 4, Role.HANDLE)
_RESERVED = _zero("reserved_4", 0x04)


def _packet(outer: Role, guest: Role) -> tuple[Field, ...]:
    return _fields(
        _HANDLE, _RESERVED,
        _address(outer, "hdr_paddr", 0x08, "hdr_len", HEADER_SIZE), _length("hdr_len", 0x10), _zero("reserved_14", 0x14),
        _address(guest, "guest_paddr", 0x18, "guest_len"), _length("guest_len", 0x20), _zero("reserved_24", 0x24),
        _address(outer, "trans_paddr", 0x28, "trans_len", PAGE), _length("trans_len", 0x30),
    )  # fmt: skip


_SENT = _packet(Role.WRITES, Role.READS_GUEST)
_RECEIVED = _packet(Role.READS, Role.WRITES_GUEST)
_H, _P, _I, _G = Whose.HYPERVISOR, Whose.PLATFORM, Whose.IDLE, Whose.GUEST
NODBG, NOKS, ES, NOSEND, DOMAIN, SEV = 1, 2, 4, 8, 16, 32
POLICY_BITS = {"NODBG": NODBG, "NOKS": NOKS, "ES": ES, "NOSEND": NOSEND, "DOMAIN": DOMAIN, "SEV": SEV}
PLATFORM_STATES = ("UNINIT", "INIT", "WORKING")
GUEST_STATES = ("UNINIT", "LUPDATE", "LSECRET", "RUNNING", "SUPDATE", "RUPDATE", "SENT")

COMMANDS = (
    Command("INIT", 0x01, 0x14, _I, "U", "brings the platform up; its state is in the board's flash", _fields(
        _zero("options", 0x00), _zero("reserved_4", 0x04), _zero("tmr_paddr", 0x08, 8), _zero("tmr_len", 0x10))),
    Command("SHUTDOWN", 0x02, 0, _I, "UIW", "takes the platform down, and every guest's key with it"),
    Command("PLATFORM_RESET", 0x03, 0, _I, "U", "forgets the owner, and all keys of the platform's own"),
    Command("PLATFORM_STATUS", 0x04, 0x0C, _P, "UIW", "version, state, owner, guests", _fields(
        _out("api_major", 0x00, 1), _out("api_minor", 0x01, 1), _out("state", 0x02, 1), _out("owner", 0x03, 1),
        _out("config", 0x04, 2), _out("reserved_6", 0x06, 1), _out("build", 0x07, 1), _out("guest_count", 0x08))),
    Command("PEK_GEN", 0x05, 0, _I, "IW", "makes a new PEK, OCA and PDH"),
    Command("PEK_CSR", 0x06, 0x0C, _P, "IW", "writes the PEK, to be signed", _fields(
        _address(Role.WRITES, "paddr", 0x00, "len", CERT_SIZE), _length("len", 0x08))),
    Command("PEK_CERT_IMPORT", 0x07, 0x1C, _I, "IW", "takes the signed PEK, and the OCA that signed it as the owner", _fields(
        _address(Role.READS, "pek_paddr", 0x00, "pek_len"), _length("pek_len", 0x08), _zero("reserved_c", 0x0C),
        _address(Role.READS, "oca_paddr", 0x10, "oca_len"), _length("oca_len", 0x18))),
    Command("PDH_CERT_EXPORT", 0x08, 0x1C, _P, "IW", "writes the PDH's certificate, and PEK, OCA, CEK", _fields(
        _address(Role.WRITES, "pdh_paddr", 0x00, "pdh_len", CERT_SIZE), _length("pdh_len", 0x08), _zero("reserved_c", 0x0C),
        _address(Role.WRITES, "certs_paddr", 0x10, "certs_len", CHAIN_SIZE), _length("certs_len", 0x18))),
    Command("PDH_GEN", 0x09, 0, _P, "IW", "makes a new PDH: sessions for the old one are void"),
    Command("DF_FLUSH", 0x0A, 0, _P, "IW", "flushes the data fabric, so that ended guests' ASIDs can be used again"),
    Command("DOWNLOAD_FIRMWARE", 0x0B, 0x0C, _I, "U", "replaces the SEV firmware until the next power cycle", _fields(
        _address(Role.READS, "image_paddr", 0x00, "image_len"), _length("image_len", 0x08))),
    Command("GET_ID", 0x0C, 0x0C, _P, "UIW", "writes the sockets' chip ids, 64 bytes each", _fields(
        _address(Role.WRITES, "id_paddr", 0x00, "id_len", ID_SIZE), _length("id_len", 0x08))),
    Command("INIT_EX", 0x0D, 0x24, _I, "U", "brings the platform up with a state that the host keeps", _fields(
        _number("length", 0x00), _zero("flags", 0x04), _zero("tmr_paddr", 0x08, 8), _zero("tmr_len", 0x10), _zero("reserved_14", 0x14),
        _address(Role.STATE, "nv_paddr", 0x18, "nv_len"), _length("nv_len", 0x20))),
    Command("NOP", 0x0E, 0, _P, "UIW", "does nothing"),
    Command("RING_BUFFER", 0x0F, 0x28, _H, "IW", "commands by rings in memory instead of the mailbox"),
    Command("DECOMMISSION", 0x20, 0x04, _H, "IW", "forgets a guest"),
    Command("ACTIVATE", 0x21, 0x08, _H, "IW", "gives a guest's key an ASID"),
    Command("DEACTIVATE", 0x22, 0x04, _H, "IW", "takes it back"),
    Command("GUEST_STATUS", 0x23, 0x0D, _G, "IW", "policy, ASID, state", _fields(
        _HANDLE, _out("policy", 0x04), _out("asid", 0x08), _out("state", 0x0C, 1))),
    Command("COPY", 0x24, 0x18, Whose.PAUSED, "IW", "copies a guest's memory to another address of it", _fields(
        _HANDLE, _length("len", 0x04), _address(Role.READS_GUEST, "src_paddr", 0x08, "len"),
        _address(Role.WRITES_GUEST, "dst_paddr", 0x10, "len")), NODBG),
    Command("ACTIVATE_EX", 0x25, 0x18, _H, "IW", "ACTIVATE for some cores"),
    Command("LAUNCH_START", 0x30, 0x24, _H, "IW", "makes a guest and its key"),
    Command("LAUNCH_UPDATE_DATA", 0x31, 0x14, _H, "IW", "encrypts and measures memory"),
    Command("LAUNCH_UPDATE_VMSA", 0x32, 0x14, _H, "IW", "the same of a vCPU's state (SEV-ES)"),
    Command("LAUNCH_MEASURE", 0x33, 0x14, _H, "IW", "tells the measurement"),
    Command("LAUNCH_SECRET", 0x34, 0x34, Whose.HELD, "IW", "decrypts what the guest's owner has sent into its memory", _RECEIVED),
    Command("LAUNCH_FINISH", 0x35, 0x04, _H, "IW", "the guest can run"),
    Command("ATTESTATION", 0x36, 0x24, Whose.LIVE, "IW", "signs the guest's digest", _fields(
        _HANDLE, _RESERVED, _address(Role.WRITES, "paddr", 0x08, "len", REPORT_SIZE), Field("mnonce", 0x10, 16, Role.BYTES),
        _length("len", 0x20))),
    Command("SEND_START", 0x40, 0x44, Whose.LIVE, "IW", "begins to send a guest to the platform with this PDH", _fields(
        _HANDLE, _out("policy", 0x04),
        _address(Role.READS, "pdh_cert_paddr", 0x08, "pdh_cert_len"), _length("pdh_cert_len", 0x10), _zero("reserved_14", 0x14),
        _address(Role.READS, "plat_certs_paddr", 0x18, "plat_certs_len"), _length("plat_certs_len", 0x20), _zero("reserved_24", 0x24),
        _address(Role.READS, "amd_certs_paddr", 0x28, "amd_certs_len"), _length("amd_certs_len", 0x30), _zero("reserved_34", 0x34),
        _address(Role.WRITES, "session_paddr", 0x38, "session_len", SESSION_SIZE), _length("session_len", 0x40)), NOSEND),
    Command("SEND_UPDATE_DATA", 0x41, 0x34, Whose.LIVE, "IW", "encrypts memory for the target", _SENT, NOSEND),
    Command("SEND_UPDATE_VMSA", 0x42, 0x34, Whose.PAUSED, "IW", "the same of a vCPU's state (SEV-ES)", _SENT, NOSEND),
    Command("SEND_FINISH", 0x43, 0x04, Whose.PAUSED, "IW", "gives the guest away: it never runs here again", _fields(_HANDLE), NOSEND),
    Command("SEND_CANCEL", 0x44, 0x04, Whose.LIVE, "IW", "the guest stays", _fields(_HANDLE), NOSEND),
    Command("RECEIVE_START", 0x50, 0x24, _H, "IW", "makes a guest that comes from elsewhere"),
    Command("RECEIVE_UPDATE_DATA", 0x51, 0x34, Whose.RECEIVING, "IW", "decrypts memory that came", _RECEIVED),
    Command("RECEIVE_UPDATE_VMSA", 0x52, 0x34, Whose.RECEIVING, "IW", "the same of a vCPU's state (SEV-ES)", _RECEIVED),
    Command("RECEIVE_FINISH", 0x53, 0x04, Whose.RECEIVING, "IW", "the guest that came can run", _fields(_HANDLE)),
    Command("DBG_DECRYPT", 0x60, 0x1C, Whose.LIVE, "IW", "reads a guest's memory", _fields(
        _HANDLE, _RESERVED, _address(Role.READS_GUEST, "src_paddr", 0x08, "len"), _address(Role.WRITES, "dst_paddr", 0x10, "len"),
        _length("len", 0x18)), NODBG),
    Command("DBG_ENCRYPT", 0x61, 0x1C, Whose.LIVE, "IW", "writes a guest's memory", _fields(
        _HANDLE, _RESERVED, _address(Role.READS, "src_paddr", 0x08, "len"), _address(Role.WRITES_GUEST, "dst_paddr", 0x10, "len"),
        _length("len", 0x18)), NODBG),
    Command("SWAP_OUT", 0x70, 0x28, Whose.PAUSED, "IW", "encrypts a page for storage", _fields(
        _HANDLE, _zero("options", 0x04), _address(Role.READS_GUEST, "src_paddr", 0x08), _address(Role.WRITES, "dst_paddr", 0x10, "", PAGE),
        _address(Role.WRITES, "mdata_paddr", 0x18, "", PAGE), _number("software_data", 0x20, 8)), NODBG | NOSEND),
    Command("SWAP_IN", 0x71, 0x20, Whose.PAUSED, "IW", "brings it back", _fields(
        _HANDLE, _zero("options", 0x04), _address(Role.READS, "src_paddr", 0x08), _address(Role.WRITES_GUEST, "dst_paddr", 0x10),
        _address(Role.READS, "mdata_paddr", 0x18)), NODBG | NOSEND),
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}
BY_NUMBER = {command.number: command for command in COMMANDS}

_STATUSES = """\
00 SUCCESS: done
01 INVALID_PLATFORM_STATE: not allowed in this platform state
02 INVALID_GUEST_STATE: not allowed in this guest state
03 INVALID_CONFIG: the platform's configuration is invalid
04 INVALID_LENGTH: a buffer has the wrong length
05 ALREADY_OWNED: the platform has an external owner already
06 INVALID_CERTIFICATE: a certificate is malformed or does not verify
07 POLICY_FAILURE: the guest's policy forbids it
08 INACTIVE: the guest has no active ASID
09 INVALID_ADDRESS: an address is misaligned or out of range
0a BAD_SIGNATURE: a signature does not verify
0b BAD_MEASUREMENT: a MAC or digest does not match
0c ASID_OWNED: another guest has this ASID
0d INVALID_ASID: the ASID is out of range for this kind of guest
0e WBINVD_REQUIRED: a core has not written its caches back
0f DF_FLUSH_REQUIRED: the data fabric has not been flushed
10 INVALID_GUEST: no guest has this handle
11 INVALID_COMMAND: the SEV firmware does not know the command
12 ACTIVE: the guest still has an active ASID
13 HWERROR_PLATFORM: hardware error; the platform is safe
14 HWERROR_UNSAFE: hardware error; the platform may be unsafe
15 UNSUPPORTED: the feature is not supported
16 INVALID_PARAM: a parameter or a reserved bit is wrong
17 RESOURCE_LIMIT: the SEV firmware is out of resources
18 SECURE_DATA_INVALID: the SEV firmware's persistent data are damaged
19 INVALID_PAGE_SIZE: the RMP has another size for a page
1a INVALID_PAGE_STATE: the RMP has another state for a page
1b INVALID_MDATA_ENTRY: a metadata entry is invalid
1c INVALID_PAGE_OWNER: the RMP has another owner for a page
1d AEAD_OFLOW: a counter of the authenticated encryption has run out
1f RING_BUFFER_EXIT: the SEV firmware left ring-buffer mode instead
20 RMP_INIT_REQUIRED: the RMP is not initialised
21 BAD_SVN: the security version is older than the committed one
22 BAD_VERSION: the version is older than the committed one
23 SHUTDOWN_REQUIRED: the platform must be shut down first
24 UPDATE_FAILED: the update of the SEV firmware failed
25 RESTORE_REQUIRED: the SEV firmware must be restored
26 RMP_INIT_FAILED: the RMP could not be initialised
27 INVALID_KEY: a key is invalid"""
STATUSES = {
    int(number, 16): (name, words)
    for number, name, words in (
        (line[:2], *line[3:].split(": ", 1)) for line in _STATUSES.splitlines()  # fmt: skip
    )
}
STATUS = {name: number for number, (name, _) in STATUSES.items()}


def policy_text(policy: int) -> str:
    """`0x1 NODBG`."""
    names = [name for name, bit in POLICY_BITS.items() if policy & bit]
    return " ".join([f"{policy:#x}", *names])


def field_text(command: Command, field: Field, value: int) -> str:
    """A number of an answer, with its name where it has one."""
    names: tuple[str, ...] = ()
    if field.name == "policy":
        return policy_text(value)
    if field.name == "state":
        names = PLATFORM_STATES if command.name == "PLATFORM_STATUS" else GUEST_STATES
    elif field.name == "owner":
        names = ("self", "external")
    return f"{value} {names[value]}" if value < len(names) else str(value)
