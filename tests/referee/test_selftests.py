# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Linux' own KVM selftests on the SEV machine: those for SEV, and those whose guests lean on what it adds to SVM.

Each kernel runs the tests of its own source package. TESTS says what each comes to, and why it is skipped where it
is: a selftest that skips for another reason, or no longer does, fails here as one that fails.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kernels
import linux
import pytest
import selftests

pytestmark = pytest.mark.referee

KSFT_SKIP = 4
SECONDS = 60  # of each, on a busy computer; the slowest takes four on an idle one
MEMORY = "2G"


@dataclass(frozen=True)
class Passes:
    pass


@dataclass(frozen=True)
class Skips:
    needs: str  # a part of the requirement that the selftest prints
    why: str


@dataclass(frozen=True)
class Absent:
    """The kernel's source has no such selftest."""


BOTH = (Passes(), Passes())
ONLY_6_12 = (Absent(), Passes())
NO_PMU = Skips("pmu", "QEMU's software emulation counts no performance events")

# Debian 12's kernel, 6.1, and Debian 13's, 6.12.
TESTS: dict[str, tuple[Passes | Skips | Absent, Passes | Skips | Absent]] = {
    # SEV. What these have for SEV-ES they leave out by themselves: the machine's CPUID does not offer it.
    "sev_init2_tests": ONLY_6_12,
    "sev_migrate_tests": BOTH,
    "sev_smoke_test": ONLY_6_12,
    # VMRUN in a guest, and events on their way into one.
    "hyperv_svm_test": BOTH,
    "nested_exceptions_test": BOTH,
    "smm_test": BOTH,
    "state_test": BOTH,
    "svm_int_ctl_test": BOTH,
    "svm_nested_shutdown_test": BOTH,
    "svm_nested_soft_inject_test": BOTH,
    "svm_vmcall_test": BOTH,
    "triple_fault_event_test": BOTH,
    # Exits with next RIP and decode assists; CPUID, control registers and MSRs.
    "cpuid_test": BOTH,
    "cr4_cpuid_sync_test": BOTH,
    "fix_hypercall_test": BOTH,
    "get_msr_index_features": BOTH,
    "hwcr_msr_test": ONLY_6_12,
    "kvm_clock_test": BOTH,
    "kvm_pv_test": BOTH,
    "platform_info_test": BOTH,
    "pmu_event_filter_test": (NO_PMU, NO_PMU),
    "set_sregs_test": BOTH,
    "tsc_msrs_test": BOTH,
    "tsc_scaling_sync": (Skips("KVM_CAP_VM_TSC_CONTROL", "QEMU's software emulation has no TSC scaling"),) * 2,
    "userspace_io_test": BOTH,
    "userspace_msr_exit_test": BOTH,
    "xapic_ipi_test": BOTH,
    "xcr0_cpuid_test": ONLY_6_12,
    "xss_msr_test": (Skips("X86_FEATURE_XSAVES", "QEMU's software emulation has no XSAVES"),) * 2,
}

ERRAND = """
run() {
    read -r before idle < /proc/uptime
    timeout -s KILL %d /selftests/$1
    result=$?
    read -r after idle < /proc/uptime
    printf '\\nselftest: %%s exit=%%s from %%s to %%s\\n' $1 $result $before $after
}
for program in /selftests/*; do run ${program##*/}; done
dmesg | grep -E 'WARNING:|BUG:|Oops|general protection|segfault' | sed 's/^/selftests: kernel: /'
"""


def expected(kernel: Path, name: str) -> Passes | Skips | Absent:
    return TESTS[name][kernels.is_next_release(kernel)]


class Host(linux.Host):
    """A host that ran the selftests."""

    def result(self, name: str) -> int | None:
        found = re.search(rf"^selftest: {name} exit=(\d+) ", self.text, re.MULTILINE)
        return int(found.group(1)) if found else None

    def said(self, name: str) -> str:
        """What the selftest printed, between the one before and its own result."""
        before, found, _ = self.text.partition(f"selftest: {name} exit=")
        return re.split(r"^selftest: .*$", before, flags=re.MULTILINE)[-1] if found else ""

    def table(self) -> list[str]:
        words = {0: "pass", KSFT_SKIP: "skip"}
        runs = re.findall(r"^selftest: (\S+) exit=(\d+) from (\S+) to (\S+)$", self.text, re.MULTILINE)
        return [
            f"  {name:30}{words.get(int(code), f'exit {code}'):10}{float(after) - float(before):5.1f} s"
            for name, code, before, after in runs
        ]


@pytest.fixture(scope="module")
def host(kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    programs = selftests.programs(kernel, list(TESTS))
    booted = linux.boot(kernel, programs, ERRAND % SECONDS, tmp_path_factory.mktemp("selftests"), memory=MEMORY)
    return Host(**vars(booted))


@pytest.mark.parametrize("name", TESTS)
def test_selftest_comes_to_what_is_expected(host: Host, kernel: Path, name: str) -> None:
    wanted = expected(kernel, name)
    said = host.said(name)
    match wanted:
        case Passes():
            assert host.result(name) == 0, said
        case Skips():
            assert host.result(name) == KSFT_SKIP, said
            assert wanted.needs in said
        case Absent():
            assert host.result(name) is None, said


def test_kernel_has_nothing_to_complain_about(host: Host, kernel: Path, show: Callable[[str], None]) -> None:
    show("\n".join([f"KVM's selftests on Linux {kernels.version(kernel)}:", *host.table()]))
    assert "referee: done" in host.text
    complaints = re.findall(r"^selftests: kernel: .*$", host.text, re.MULTILINE)
    # The processor is a Milan with IBPB and without the microcode that makes it flush return predictions, too: Linux says so.
    assert [line for line in complaints if "Speculative Return Stack Overflow: WARNING" not in line] == []


def test_secure_processor_does_all_and_keeps_nothing(host: Host, kernel: Path) -> None:
    done = collections.Counter(command["command"] for command in host.commands)
    assert host.counters["commands rejected"] == 0
    # sev_migrate_tests starts eight guests; sev_smoke_test two more, which it launches and runs.
    launched = 2 if isinstance(expected(kernel, "sev_smoke_test"), Passes) else 0
    assert done["LAUNCH_FINISH"] == done["LAUNCH_MEASURE"] == launched
    assert done["LAUNCH_START"] == 8 + launched
    assert done["ACTIVATE"] == done["DEACTIVATE"] == done["DECOMMISSION"] == done["LAUNCH_START"]


def test_no_access_passes_through_a_stale_cache_line(host: Host) -> None:
    assert host.counters["coherency faults"] == 0
    assert "sev-machine:" not in host.words
