# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Command lines for the SEV machine, and a QMP client for its counters.

    import machine
    argv = machine.argv(memory="2G", cpus=2) + ["-drive", ...]

See README.md for what each property means.
"""
from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PSP = "/machine/peripheral/psp"

# What EPYC-Milan has and TCG lacks: QEMU would warn about each.
_LACKING = (
    "pcid",
    "invpcid",
    "xsavec",
    "xsaves",
    "misalignsse",
    "osvw",
    "perfctr-core",
    "topoext",
    "fxsr-opt",
    "clzero",
)
# What the SEV machine adds to TCG's SVM.
SVM_FEATURES = ("nrip-save", "decodeassists", "flushbyasid", "vmcb-clean", "svm-lock")


def binary() -> Path:
    """Builds the machine if need be (minutes the first time), and says where it is."""
    done = subprocess.run([str(HERE / "build")], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def option(value: object) -> str:
    """As a value in one of QEMU's lists of options."""
    return str(value).replace(",", ",,")


def _options(**given: object) -> str:
    text = ""
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = "on" if value else "off"
        text += f",{name.replace('_', '-')}={option(value)}"
    return text


def cpu(
    *,
    asids: int = 15,
    min_asid: int = 1,
    c_bit: int = 51,
    reduced_bits: int = 1,
    phys_bits: int = 43,
    smee: bool = True,
    smm_lock: bool = True,
    svm_lock: bool = False,
    svm_disable: bool = False,
    sev: bool = True,
    sme: bool = True,
    hw_coherency: bool = False,
    poison_clean_bits: bool = True,
    smca: bool = True,
    v_spec_ctrl: bool = True,
    x2apic: bool = False,
    without: tuple[str, ...] = (),
) -> str:
    """The value of -cpu. `without`: SVM_FEATURES or other CPU flags to leave out."""
    flags = "".join(f",-{name}" for name in _LACKING)
    flags += "".join(f",+{name}" for name in ("svm", "npt", *SVM_FEATURES) if name not in without)
    flags += "".join(f",-{name}" for name in without)
    flags += ",+x2apic" if x2apic else ""
    return f"EPYC-Milan,-hypervisor{flags},phys-bits={phys_bits},sev-machine=on" + _options(
        sev_asids=asids,
        sev_min_asid=min_asid,
        sev_cbitpos=c_bit,
        sev_reduced_bits=reduced_bits,
        sev_smee=smee,
        sev_smmlock=smm_lock,
        sev_svm_lock=svm_lock,
        sev_svm_disable=svm_disable,
        sev_hide_sev=not sev,
        sev_hide_sme=not sme,
        sev_hw_coherency=hw_coherency,
        sev_smca=smca,
        sev_poison_clean_bits=poison_clean_bits,
        sev_v_spec_ctrl=v_spec_ctrl,
    )


def argv(
    *,
    qemu: Path | str | None = None,
    memory: str = "1G",
    cpus: int = 1,
    psp: bool = True,
    part: str = "milan",
    fault: str | None = None,
    latency_us: int | None = None,
    never_ready: bool = False,
    trace: Path | str | None = None,
    nv: Path | str | None = None,
    seed: str | None = None,
    api: tuple[int, int, int] | None = None,
    coherency_fatal: bool = False,
    msix: bool = True,
    bar64: bool = False,
    ram: Path | str | None = None,
    max_guests: int | None = None,
    keep_pdh: bool = True,
    icount: bool = False,
    qmp: Path | str | None = None,
    cpu_model: str | None = None,
    **cpu_options: object,
) -> list[str]:
    """The machine's command line: chipset, CPUs, memory, PSP, debug-exit port 0xf4.

    Firmware, disks, serial ports and the rest are the caller's. `icount` with `seed`
    makes runs repeat to the instruction. `ram` is a file with what memory holds at power-on; it is
    never written to. `cpu_options` are those of cpu().
    """
    qemu = Path(qemu) if qemu else binary()
    line = [
        str(qemu),
        "-L",
        str(qemu.parent.parent / "share" / "qemu"),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-M",
        "q35,memory-backend=ram",
        "-accel",
        "tcg,thread=single",
        "-cpu",
        cpu_model or cpu(**cpu_options),
        "-smp",
        str(cpus),
        "-m",
        memory,
        # Not reserved: of a machine larger than the host only what is touched must be there.
        "-object",
        (f"memory-backend-file,mem-path={option(ram)},share=off" if ram else "memory-backend-ram")
        + f",id=ram,size={memory},reserve=off",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
    ]
    if icount:
        line += ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1"]
    if psp:
        major, minor, build = api or (None, None, None)
        line += [
            "-device",
            "sev-psp,id=psp"
            + _options(
                part=part,
                fault=fault,
                latency_us=latency_us,
                never_ready=never_ready or None,
                trace=trace,
                nv=nv,
                seed=seed or ("icount" if icount else None),
                api_major=major,
                api_minor=minor,
                build=build,
                coherency_fatal=coherency_fatal or None,
                msix=None if msix else False,
                bar64=bar64 or None,
                max_guests=max_guests,
                keep_pdh=None if keep_pdh else False,
            ),
        ]
    if qmp:
        line += ["-qmp", f"unix:{option(qmp)},server=on,wait=off"]
    return line


class Qmp:
    """A QMP connection, one command at a time."""

    def __init__(self, path: Path | str, timeout: float = 30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(os.fspath(path))
        self.file = self.socket.makefile("rw", encoding="utf-8")
        json.loads(self.file.readline())
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> object:
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionError("the machine closed its QMP connection")
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def psp(self, name: str) -> object:
        """A property of the PSP: coherency-faults, commands, rejected, fault, ..."""
        return self.command("qom-get", path=PSP, property=name)

    def set_psp(self, name: str, value: object) -> None:
        self.command("qom-set", path=PSP, property=name, value=value)

    def close(self) -> None:
        self.file.close()
        self.socket.close()
