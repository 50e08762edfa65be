# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The SEV machine itself, without Sevisor: payload/ from the inside, unmodified Debian Linux as the referee."""

from __future__ import annotations

import functools
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402
from emulator import kept_waiting  # noqa: E402

pytestmark = pytest.mark.sev

LINUX_LIMIT = 600
PAYLOAD_LIMIT = 300

INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev /tmp
$B mount -t proc none /proc
$B mount -t sysfs none /sys
$B mount -t devtmpfs none /dev
$B mount -t tmpfs none /tmp
%s
echo machine-test-done
$B poweroff -f
"""


@pytest.fixture(scope="session")
def qemu() -> Path:
    return machine.binary()


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="session")
def payload(scratch: Path) -> Path:
    source = HERE / "payload"
    subprocess.run(["nasm", "-f", "elf64", "-o", scratch / "start.o", source / "start.asm"], check=True)
    subprocess.run(
        [
            "gcc",
            "-std=gnu17",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-ffreestanding",
            "-fno-pic",
            "-fno-stack-protector",
            "-mgeneral-regs-only",
            "-mno-red-zone",
            "-fcf-protection=none",
            "-fno-asynchronous-unwind-tables",
            "-c",
            "-o",
            scratch / "payload.o",
            source / "payload.c",
        ],
        check=True,
    )
    subprocess.run(
        [
            "ld",
            "-n",
            "--no-warn-rwx-segments",
            "-T",
            source / "payload.ld",
            "-o",
            scratch / "payload.elf",
            scratch / "start.o",
            scratch / "payload.o",
        ],
        check=True,
    )
    subprocess.run(["objcopy", "-O", "binary", scratch / "payload.elf", scratch / "payload.bin"], check=True)
    return scratch / "payload.bin"


class Running:
    """A machine that runs, with its console in a file and QMP at hand."""

    def __init__(self, argv: list[str], folder: Path, limit: float):
        self.console = folder / "console"
        self.errors = folder / "stderr"
        self.limit, self.started = limit, time.monotonic()
        self.process = subprocess.Popen(
            [
                *argv,
                "-serial",
                "chardev:serial",
                "-chardev",
                f"socket,id=serial,path={machine.option(folder)}/serial,server=on,wait=off,logfile={machine.option(self.console)}",
                "-qmp",
                f"unix:{machine.option(folder)}/qmp,server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors.open("w"),
        )
        self.folder = folder

    def __enter__(self) -> Running:
        return self

    @functools.cached_property
    def qmp(self) -> machine.Qmp:
        while True:
            try:
                return machine.Qmp(self.folder / "qmp")
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None:
                    pytest.fail(f"the machine does not start: {self.stderr()}", pytrace=False)
                self.tick()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def text(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def tick(self) -> None:
        if time.monotonic() - self.started - kept_waiting(self.process.pid) > self.limit:
            pytest.fail(f"the machine did not get there in time:\n{self.text()[-3000:]}", pytrace=False)
        time.sleep(0.05)

    def wait_for(self, words: str) -> None:
        while words not in self.text():
            if self.process.poll() is not None:
                pytest.fail(f"the machine ended before {words!r}:\n{self.text()[-3000:]}{self.stderr()}", pytrace=False)
            self.tick()

    def finish(self) -> str:
        while self.process.poll() is None:
            self.tick()
        return self.text()

    def stderr(self) -> str:
        return self.errors.read_text()

    def type(self, byte: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{self.folder}/serial")
            s.sendall(byte)
            time.sleep(0.2)


def run_payload(
    qemu: Path, payload: Path, folder: Path, words: str, *, reboot: bool = False, **options: object
) -> Running:
    argv = machine.argv(qemu=qemu, memory="256M", **{"phys_bits": 48, "reduced_bits": 5, **options})
    return Running(
        [*argv, "-action", f"reboot={'reset' if reboot else 'shutdown'}", "-kernel", str(payload), "-append", words],
        folder,
        PAYLOAD_LIMIT,
    )


def verdict(text: str) -> None:
    failed = re.findall(r"^FAIL .*$", text, re.MULTILINE)
    assert not failed, "\n".join(failed)
    assert "\ndone" in text.replace("\r", ""), text[-2000:]
    assert re.search(r"^ok ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "words, options",
    [
        ("identity", {}),
        ("svm-locked", {"svm_lock": True, "svm_disable": True}),
        ("reserved", {"smee": False}),
        ("sme", {}),
        ("svm", {}),
        ("events", {}),
        ("events", {"cpus": 2}),
        ("sev", {}),
        ("sev big", {}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_payload_with_no_coherency_fault(qemu, payload, tmp_path, words, options):
    with run_payload(qemu, payload, tmp_path, f"{words} wait", **options) as m:
        m.wait_for("waiting")
        assert m.qmp.psp("coherency-faults") == 0, m.stderr()
        assert m.qmp.psp("encrypted-mmio") == 0, m.stderr()
        assert m.qmp.psp("clean-bit-poisonings") == 0, m.stderr()
        m.type(b"x")
        verdict(m.finish())


def test_a_machine_check_is_intercepted(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "machine-check") as m:
        m.wait_for("in the guest")
        said = m.qmp.command("human-monitor-command", **{"command-line": "mce 0 2 0xb000000000000135 5 0 0"})
        assert not said.strip()
        verdict(m.finish())


def test_missing_flushes_are_reported(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "coherency-bad wait") as m:
        m.wait_for("waiting")
        assert m.qmp.psp("coherency-faults") == 4
        assert m.stderr().count("sev-machine: coherency:") == 4


def test_hardware_coherency_switches_the_checker_off(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "coherency-bad wait", hw_coherency=True) as m:
        m.wait_for("waiting")
        assert m.qmp.psp("coherency-faults") == 0


def test_fatal_coherency_fault_ends_the_machine(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "coherency-bad wait", coherency_fatal=True) as m:
        m.finish()
        assert m.process.returncode == 99


def test_clean_bits_poison(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "poison wait") as m:
        m.wait_for("waiting")
        assert m.qmp.psp("clean-bit-poisonings") == 1
        assert "FAIL" not in m.text()


def test_memory_dump_has_ciphertext_and_changes_nothing(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "marker") as m:
        m.wait_for("waiting")
        m.qmp.command("pmemsave", val=0x1000000, size=64 * 4096, filename=str(tmp_path / "dump"))
        dump = (tmp_path / "dump").read_bytes()
        assert b"SITEMARK" not in dump and b"EPMARKED" not in dump
        assert len(set(dump[i : i + 16] for i in range(0, len(dump), 16))) == 64 * 256, "repeating ciphertext"
        m.type(b"x")
        verdict(m.finish())
        assert "ok marker-still-there" in m.text()


def test_reset_forgets_the_keys(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "marker", reboot=True) as m:
        m.wait_for("waiting")
        m.qmp.command("stop")
        m.qmp.command("pmemsave", val=0x1000000, size=4096, filename=str(tmp_path / "before"))
        m.qmp.command("system_reset")
        m.qmp.command("pmemsave", val=0x1000000, size=4096, filename=str(tmp_path / "after"))
        assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes(), "DRAM survives a reset"
        m.qmp.command("cont")
        while m.text().count("waiting") < 2:
            m.tick()
        m.qmp.command("pmemsave", val=0x1000000, size=4096, filename=str(tmp_path / "again"))
        assert (tmp_path / "before").read_bytes() != (tmp_path / "again").read_bytes(), "a new key"


def test_runs_repeat_with_icount(qemu, payload, tmp_path):
    traces = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trace = tmp_path / name / "trace"
        with run_payload(qemu, payload, tmp_path / name, "sev wait", icount=True, trace=trace) as m:
            m.wait_for("waiting")
            assert "FAIL" not in m.text()
        traces.append(trace.read_text())
    assert traces[0] == traces[1] and "LAUNCH_FINISH" in traces[0]


def test_faults_on_demand_and_trace(qemu, payload, tmp_path):
    trace = tmp_path / "trace"
    with run_payload(qemu, payload, tmp_path, "sev", fault="status:INIT:0x16", trace=trace) as m:
        m.finish()
        assert "FAIL init got 0x0000000000000016" in m.text()
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    hit = next(e for e in events if e["command"] == "INIT")
    assert hit["code"] == 0x16 and "fault" in hit
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


def test_unknown_fault_is_refused(qemu, payload, tmp_path):
    with run_payload(qemu, payload, tmp_path, "wait") as m:
        with pytest.raises(RuntimeError, match="not a fault"):
            m.qmp.set_psp("fault", "nonsense")
        m.qmp.set_psp("fault", "hang:INIT")
        assert m.qmp.psp("fault") == "hang:INIT"


# ------------------------------------------------------------------- the referee


def kernel(package: str) -> Path:
    fetch = HERE.parent.parent / "guest" / "linux" / "fetch-kernel"
    done = subprocess.run([str(fetch), "--package", package], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def initramfs(folder: Path, script: str, files: dict[str, Path] = {}) -> Path:
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "init").write_text(INIT % script)
    for name, path in files.items():
        (root / name).write_bytes(path.read_bytes())
    for path in (root / "bin" / "busybox", root / "init", *(root / n for n in files)):
        path.chmod(0o755)
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    image = folder / "initramfs"
    with image.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=out, cwd=root, check=True)
    return image


def run_linux(qemu: Path, folder: Path, image: Path, initrd: Path, words: str, **options: object) -> Running:
    argv = machine.argv(qemu=qemu, **options)
    return Running(
        [
            *argv,
            "-no-reboot",
            "-no-shutdown",
            "-kernel",
            str(image),
            "-initrd",
            str(initrd),
            # Else Linux gives up where a busy host lets ten timer interrupts wait for a few milliseconds.
            "-append",
            f"console=ttyS0 panic=-1 no_timer_check {words}",
        ],
        folder,
        LINUX_LIMIT,
    )


@pytest.mark.parametrize("cpus", [1, 2])
def test_linux_runs_with_sme(qemu, tmp_path, cpus):
    script = """A=SEVISOR_MARK; C=ER_IN_MEMORY
$B yes $A$C | $B head -c 4000000 > /tmp/marker
echo machine-test-wrote
$B sleep 1000"""
    with run_linux(
        qemu,
        tmp_path,
        kernel("linux-image-cloud-amd64"),
        initramfs(tmp_path, script),
        "mem_encrypt=on",
        memory="512M",
        cpus=cpus,
    ) as m:
        m.wait_for("machine-test-wrote")
        assert "Memory Encryption Features active: AMD SME" in m.text()
        assert m.qmp.psp("coherency-faults") == 0, m.stderr()
        assert m.qmp.psp("encrypted-mmio") == 0, m.stderr()
        m.qmp.command("stop")
        m.qmp.command("pmemsave", val=0, size=512 << 20, filename=str(tmp_path / "dump"))
        dump = (tmp_path / "dump").read_bytes()
        (tmp_path / "dump").unlink()
        assert b"SEVISOR_MARKER_IN_MEMORY" not in dump


@pytest.mark.parametrize(
    "words, msix", [("", True), ("", False), ("mem_encrypt=on", True)], ids=["msix", "msi", "host-sme"]
)
def test_linux_kvm_launches_an_sev_guest(qemu, tmp_path, words, msix):
    program = tmp_path / "kvmsev"
    subprocess.run(
        ["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-o", program, HERE / "payload" / "kvmsev.c"],
        check=True,
    )
    image = kernel("linux-image-amd64")
    modules = {}
    for name in ("ccp", "irqbypass", "kvm", "kvm-amd"):
        modules[f"{name}.ko"] = next((image.parent.parent / "lib" / "modules").rglob(f"{name}.ko"))
    script = "for m in ccp irqbypass kvm kvm-amd; do $B insmod /$m.ko; done\n/kvmsev\n$B cat /proc/interrupts"
    trace = tmp_path / "trace"
    with run_linux(
        qemu,
        tmp_path,
        image,
        initramfs(tmp_path, script, {"kvmsev": program, **modules}),
        words,
        cpus=2,
        msix=msix,
        trace=trace,
    ) as m:
        m.wait_for("machine-test-done")
        # The program peeks at a page that the guest wrote: that alone is a fault.
        assert m.qmp.psp("coherency-faults") == 1, m.stderr()
        text = m.text().replace("\r", "")
    verdict(text)
    assert "SEV API:" in text
    assert re.search(r"^ *\d+:\s+(\d+\s+)+PCI-MSI.*(psp|sp-1)", text, re.MULTILINE), "commands complete by interrupt"
    done = [json.loads(line) for line in trace.read_text().splitlines()]
    assert [e["command"] for e in done if e["code"]] == []
    assert {
        "INIT",
        "LAUNCH_START",
        "ACTIVATE",
        "LAUNCH_UPDATE_DATA",
        "LAUNCH_MEASURE",
        "LAUNCH_FINISH",
        "DEACTIVATE",
        "DECOMMISSION",
    } <= {e["command"] for e in done}
