# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A board's acceptance run: each command of the SEV API that can be sent now, and why the others were not."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .connection import Connection
from .errors import ControlError, Refused
from .firmware import AT_LAUNCH, HYPERVISORS_OWN, Answer, Firmware, build
from .sevapi import BY_NAME, COMMANDS, PAGE, STATE_SIZE, STATUS, Whose

SUCCESS = STATUS["SUCCESS"]
ABSENT = (STATUS["INVALID_COMMAND"], STATUS["UNSUPPORTED"])  # of what not every firmware has
NO_ES = (*ABSENT, STATUS["POLICY_FAILURE"], STATUS["INVALID_CONFIG"], STATUS["INVALID_PARAM"], STATUS["INVALID_LENGTH"])
WRONG_CERTIFICATE = (STATUS["INVALID_CERTIFICATE"], STATUS["BAD_SIGNATURE"])
BLOCK = 64  # bytes of guest memory that are written and copied


@dataclass
class Row:
    command: str
    status: str
    us: int | None
    good: bool
    note: str = ""


@dataclass
class Plan:
    guest: str | None = None
    address: int | None = (
        None  # of two pages of the guest's that may be written, and are restored; without: its last two
    )
    certificates: bytes | None = None  # ASK and ARK of this platform, for SEND_START
    cek: bytes | None = None  # as AMD signed it
    destructive: bool = False
    image: bytes | None = None  # for DOWNLOAD_FIRMWARE


@dataclass
class Exercise:
    sevisor: Connection
    plan: Plan
    show: Callable[[Row], None] = lambda row: None
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # command: why it was not sent
    firmware: Firmware = field(init=False)
    _shown: int = 0

    def __post_init__(self) -> None:
        self.firmware = Firmware(self.sevisor)

    # -------------------------------------------------------------- one command

    def add(self, row: Row) -> None:
        self.flush()
        self.rows.append(row)

    def flush(self) -> None:
        """A row is shown when what its command did has been looked at."""
        for row in self.rows[self._shown :]:
            self.show(row)
        self._shown = len(self.rows)

    def send(
        self, name: str, expect: tuple[int, ...] = (SUCCESS,), guest: str | None = None, note: str = "", **values: int | bytes
    ) -> Answer:  # fmt: skip
        """A row if the SEV firmware has answered, else the reason why not."""
        answer = self.firmware.send(build(BY_NAME[name], values), guest)
        if answer.reached:
            good = answer.status in expect
            why = "" if good else "not what was expected; "
            if good and answer.status in ABSENT and SUCCESS in expect:
                note = "this SEV firmware does not have it"
            self.add(Row(name, answer.words(), answer.us, good, why + note))
        else:
            self.missing[name] = "; ".join(
                filter(None, (answer.words(), self.firmware.explain(answer, guest) if answer.result != 8 else ""))
            )
        return answer

    def check(self, good: bool, words: str) -> None:
        """Of what the last row's command did."""
        row = self.rows[-1]
        if not good:
            self.rows[-1] = Row(row.command, row.status, row.us, False, f"{row.note}; {words}".lstrip("; "))

    def changed(self, name: str, expect: tuple[int, ...] = (SUCCESS,), note: str = "", **values: int | bytes) -> Answer:
        """A command that the hypervisor follows up."""
        answer = self.send(name, expect, None, note, **values)
        self.firmware.settle()
        return answer

    # -------------------------------------------------------------- the parts

    def run(self) -> None:
        self.platform()
        if self.plan.guest:
            self.guest(self.plan.guest)
        if self.plan.destructive:
            living = self.firmware.live_guests()
            if living:
                self._leave(f"it would destroy SEV guests: end {', '.join(living)} first", self._destructive_names())
            else:
                self.destructive()
        self.account()

    def platform(self) -> None:
        self.send("NOP", (SUCCESS, *ABSENT))
        answer = self.send("PLATFORM_STATUS")
        if answer.reached:
            told = self.sevisor.platform()
            found = answer.values()
            self.check(
                f"{found['api_major']}.{found['api_minor']}" == told.get("api"), "another version than the hypervisor's"
            )
        answer = self.send("GET_ID", (STATUS["INVALID_LENGTH"],), note="asked for the length only", id_len=0)
        wanted = int(answer.values().get("id_len", 0))
        if answer.reached:
            self.check(wanted > 0 and wanted % 64 == 0, f"length {wanted}: not 64 bytes a socket")
        answer = self.send("GET_ID", id_len=wanted or 128)
        if answer.reached:
            self.check(any(answer.data.get("id_paddr", b"")), "the chip ids are zeros")
        self.certificates()
        self.send("DF_FLUSH")

    def certificates(self) -> None:
        answer = self.send("PDH_CERT_EXPORT")
        if answer.reached:
            self.check(answer.data.get("pdh_paddr", b"")[:4] == b"\1\0\0\0", "the PDH is no certificate of version 1")
        answer = self.send("PEK_CSR")
        if answer.reached:
            self.check(answer.data.get("paddr", b"")[:4] == b"\1\0\0\0", "the PEK is no certificate of version 1")

    def guest(self, name: str) -> None:
        status = self.sevisor.status(name)
        if status.get("encryption") != "sev" or status.get("state") not in ("running", "paused"):
            raise Refused(
                f"guest {name}: is {status.get('state')}, encryption {status.get('encryption')}: give a SEV guest that runs"
            )
        for command in AT_LAUNCH:
            self.add(Row(command, "sent by the hypervisor", None, True, f"when it launched {name}"))
        answer = self.send("GUEST_STATUS", guest=name)
        if answer.reached:
            found = answer.values()
            told = (status.get("policy"), status.get("asid"), 3)
            self.check(
                (found["policy"], found["asid"], found["state"]) == told, "not what the hypervisor says of the guest"
            )
        if status.get("state") == "running":
            self.sevisor.pause(name)
        try:
            self.memory(name, int(status["memory"]))  # type: ignore[arg-type]
            nonce = secrets.token_bytes(16)
            answer = self.send("ATTESTATION", guest=name, mnonce=nonce)
            if answer.reached:
                self.check(answer.data.get("paddr", b"")[:16] == nonce, "the report is for another nonce")
            self.leave(name)
        finally:
            if status.get("state") == "running":
                self.sevisor.resume(name)

    def memory(self, name: str, size: int) -> None:
        """Two pages: written, copied, swapped, and restored."""
        first = size - 2 * PAGE if self.plan.address is None else self.plan.address
        second = first + PAGE
        before = {at: self.read(name, at, "the pages' content before") for at in (first, second)}
        if any(data is None for data in before.values()):
            self._leave(
                self.missing.get("DBG_DECRYPT", "the pages could not be read"),
                ["DBG_ENCRYPT", "COPY", "SWAP_OUT", "SWAP_IN"],
            )
            return
        try:
            pattern = secrets.token_bytes(BLOCK)
            self.write(name, first, pattern, "a pattern")
            self.check(self.read(name, first, "the pattern back") == pattern, "the pattern did not come back")
            if (
                self.send("COPY", (SUCCESS, *ABSENT), name, src_paddr=first, dst_paddr=second, len=BLOCK).status
                == SUCCESS
            ):
                self.check(self.read(name, second, "the copy") == pattern, "the copy is another")
            self.swap(name, first, pattern)
        finally:
            for at, data in before.items():
                self.write(name, at, data or b"", "restored")

    def read(self, name: str, at: int, note: str) -> bytes | None:
        answer = self.send("DBG_DECRYPT", guest=name, note=note, src_paddr=at, len=BLOCK)
        return answer.data.get("dst_paddr") if answer.reached else None

    def write(self, name: str, at: int, data: bytes, note: str) -> None:
        self.send("DBG_ENCRYPT", guest=name, note=note, src_paddr=data, dst_paddr=at)

    def swap(self, name: str, at: int, pattern: bytes) -> None:
        out = self.send("SWAP_OUT", (SUCCESS, *ABSENT), name, src_paddr=at, software_data=0)
        if out.status == SUCCESS and out.reached:
            pages = {"src_paddr": out.data["dst_paddr"], "mdata_paddr": out.data["mdata_paddr"]}
            self.send("SWAP_IN", guest=name, dst_paddr=at, **pages)
            self.check(self.read(name, at, "the page that was swapped") == pattern, "the page came back as another")
        elif out.reached and out.status in ABSENT:
            blank = {"src_paddr": bytes(PAGE), "mdata_paddr": bytes(PAGE)}
            self.send("SWAP_IN", ABSENT, name, "not there, as SWAP_OUT", dst_paddr=at, **blank)
        else:
            self.missing.setdefault("SWAP_IN", "there is nothing that SWAP_OUT has written")

    def leave(self, name: str) -> None:
        """SEND_START to this platform itself, one page, SEND_CANCEL."""
        chain = self.sevisor.chain()
        if self.plan.cek:
            chain = chain[: -len(self.plan.cek)] + self.plan.cek
        if self.plan.certificates is None:
            self.send(
                "SEND_START", (STATUS["INVALID_LENGTH"],), name, "asked for the length only: no --ca", session_len=0
            )
            self._leave("nothing is being sent without --ca and --cek", [one for one in BY_NAME if one.startswith("SEND_") and one != "SEND_START"])  # fmt: skip
            return
        start = self.send("SEND_START", guest=name, note="to this platform itself", pdh_cert_paddr=self.sevisor.pdh(),
                          plat_certs_paddr=chain, amd_certs_paddr=self.plan.certificates)  # fmt: skip
        if not start.reached or start.status != SUCCESS:
            self._leave(
                "SEND_START failed", [one for one in BY_NAME if one.startswith("SEND_") and one not in ("SEND_START",)]
            )
            return
        try:
            self.send("SEND_UPDATE_DATA", (STATUS["INVALID_LENGTH"],), name, "asked for the lengths only", hdr_len=0)
            sent = self.send("SEND_UPDATE_DATA", guest=name, guest_paddr=0, guest_len=PAGE)
            self.check(len(sent.data.get("trans_paddr", b"")) == PAGE, "no page came")
            self.send("SEND_UPDATE_VMSA", NO_ES, name, "the guest has no SEV-ES", guest_paddr=0, guest_len=PAGE)
        finally:
            self.send("SEND_CANCEL", guest=name)

    def destructive(self) -> None:
        """All keys of the platform's own are new afterwards, and it has no owner."""
        try:
            self.changed("PDH_GEN")
            self.changed("PEK_GEN")
            csr = self.send("PEK_CSR").data.get("paddr", b"")
            self.changed(
                "PEK_CERT_IMPORT", WRONG_CERTIFICATE, "a PEK that nobody has signed", pek_paddr=csr, oca_paddr=csr
            )
            self.changed("SHUTDOWN")
            self.changed("PLATFORM_RESET")
            if self.plan.image is not None:
                self.changed("DOWNLOAD_FIRMWARE", image_paddr=self.plan.image)
            self.changed("INIT_EX", note="with a new state, kept here", nv_paddr=bytes(STATE_SIZE))
            if self.rows[-1].command == "INIT_EX" and self.rows[-1].good:
                self.kept_state()
                self.certificates()
            self.changed("SHUTDOWN")
            self.changed("INIT", note="with the state in the board's flash")
        finally:
            self._bring_up()

    def kept_state(self) -> None:
        try:
            self.check(any(self.sevisor.platform_state()), "the state that came back is empty")
        except Refused as refusal:
            self.check(False, str(refusal))

    def _bring_up(self) -> None:
        if self.sevisor.platform().get("state") == "uninit":
            self.changed("INIT", note="since the platform was down")
        if self.sevisor.platform().get("sev-ready") != "yes" and self.rows:
            self.check(False, f"SEV cannot be used: {self.sevisor.platform().get('refusal')}")

    # -------------------------------------------------------------- what was not sent

    def _leave(self, why: str, names: list[str]) -> None:
        for name in names:
            self.missing.setdefault(name, why)

    @staticmethod
    def _destructive_names() -> list[str]:
        return ["PDH_GEN", *(one.name for one in COMMANDS if one.whose is Whose.IDLE)]

    def account(self) -> None:
        """Every command of the table: in a row, or missing with its reason."""
        sent = {row.command for row in self.rows}
        for command in COMMANDS:
            if command.name not in sent:
                self.missing.setdefault(command.name, self._reason(command.name, command.whose))
        self.missing = {
            one.name: self.missing[one.name] for one in COMMANDS if one.name in self.missing and one.name not in sent
        }

    def _reason(self, name: str, whose: Whose) -> str:
        if name in HYPERVISORS_OWN:
            return HYPERVISORS_OWN[name]
        if name == "DOWNLOAD_FIRMWARE" and self.plan.destructive:
            return "no --image"
        if name in self._destructive_names():
            return "changes the platform: --destructive"
        if name == "SEND_FINISH":
            return "it gives the guest away, which never runs here again"
        if whose is Whose.RECEIVING:
            return "for a guest that comes from another platform"
        if whose is Whose.HELD:
            return "for a guest that is held before its first instruction: `secret`"
        return "for a guest: --guest NAME" if not self.plan.guest else "not reached"

    @property
    def good(self) -> bool:
        return all(row.good for row in self.rows)


def attempt(exercise: Exercise) -> ControlError | None:
    """Runs it; an error that ends it early is returned, and what was sent before stays."""
    try:
        exercise.run()
    except ControlError as error:
        exercise.account()
        return error
    finally:
        exercise.flush()
    return None
