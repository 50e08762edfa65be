# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's own QEMU, in Debian's Linux on the SEV machine, launches a SEV guest: three levels of software emulation deep.

On each release two launches:
- `blank`: policy 0, no session, stopped before it runs; what a curious user would type first;
- `owned`: NODBG, with session and certificate of our owner's tool; OVMF and Linux run in it.
OVMF is measured, what it boots is not: that needs kernel-hashes=on and an OVMF with room for
the hashes (OvmfPkg/AmdSev), which Debian has packaged in neither release.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import initramfs
import kernels
import linux
import owner_side
import packing
import pytest

pytestmark = pytest.mark.referee

API = (1, 55, 21)  # the machine's default
TIME_LIMIT = 600  # OVMF and Linux under KVM under software emulation; half a minute each when nobody else works
POLICY = {"blank": 0, "owned": packing.NODBG}
CMDLINE = "console=ttyS0 earlyprintk=ttyS0 loglevel=6 swiotlb=512 panic=-1"

GUEST_INIT = b"""#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
exec < /dev/console > /dev/console 2>&1
echo "guest: Linux $(uname -r)"
dmesg | grep 'Memory Encryption Features' | sed 's/.*Memory/guest: Memory/'
echo "guest: command line $(cat /proc/cmdline)"
poweroff -f
"""

# One QEMU of which the test types the QMP commands in advance.
# Without huge pages: Linux 6.1.192 pins a SEV guest's memory for reading only (sev_mem_enc_register_region in its sev.c),
# so that of memory not touched before it pins the zero page. What the guest gets later is not pinned, and khugepaged
# gathers it into a huge page (mm_collapse_huge_page of its trace events): ciphertext at another address is lost.
LAUNCH = """
export LD_LIBRARY_PATH=/lib
echo never > /sys/kernel/mm/transparent_hugepage/enabled
launch() {{
    name=$1 limit=$2 last=$3 object=$4
    shift 4
    rm -f /tmp/qmp; mkfifo /tmp/qmp; exec 3<>/tmp/qmp
    cp /{variables} /tmp/variables
    echo "referee: launch $name"
    for command in qmp_capabilities query-sev query-sev-launch-measure $last; do
        echo "{{\\"execute\\":\\"$command\\"}}" >&3
    done
    timeout $limit qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -S \\
        -M q35,confidential-guest-support=sev -accel kvm -cpu host -m 256M \\
        -object "sev-guest,id=sev,cbitpos={cbitpos},reduced-phys-bits={reduced},$object" \\
        -drive if=pflash,format=raw,readonly=on,file=/{code} -drive if=pflash,format=raw,file=/tmp/variables \\
        -kernel /guest/vmlinuz -initrd /guest/initrd -append "{cmdline}" \\
        -qmp stdio -serial file:/dev/console "$@" <&3
    echo "referee: launch $name ended with $?"
}}
launch blank 60 quit policy=0x0
launch owned 500 cont policy=0x1,dh-cert-file=/guest/dh-cert,session-file=/guest/session
"""


@dataclass
class Release:
    """What of a Debian release takes part."""

    kernel: Callable[[], Path]
    root: Callable[[], Path]
    code: str  # OVMF, measured
    variables: str  # what it keeps in a second flash


RELEASES = {
    # The 4 MiB build of Debian 12 has a 32-bit PEI, which does not know SEV.
    "debian12": Release(
        kernels.first_release, kernels.first_release_userland, "usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"
    ),
    "debian13": Release(
        kernels.next_release, kernels.next_release_userland,
        "usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
}  # fmt: skip


@dataclass
class Launch:
    """What QEMU answered."""

    sev: dict[str, object]  # query-sev
    measure: bytes
    nonce: bytes


@dataclass
class Launched:
    host: linux.Host
    release: Release
    files: dict[str, Path]
    tik: dict[str, bytes]

    def part(self, name: str) -> str:
        """What was printed during a launch."""
        found = re.search(
            rf"^referee: launch {name}$(.*)^referee: launch {name} ended with 0$", self.host.text, re.M | re.S
        )
        assert found, f"the launch of {name} did not come to its end"
        return found.group(1)

    def launch(self, name: str) -> Launch:
        answers = [json.loads(line) for line in re.findall(r'^\{"return": .*\}\r?$', self.part(name), re.M)]
        sev, data = answers[1]["return"], base64.b64decode(answers[2]["return"]["data"])
        assert len(data) == 48
        return Launch(sev, data[:32], data[32:])


@pytest.fixture(scope="module", params=RELEASES)
def launched(request: pytest.FixtureRequest, build: Path, built, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    built(os.environ.get("BUILD", ".build") + "/guest/vmlinuz")
    release = RELEASES[request.param]
    folder = tmp_path_factory.mktemp("qemu")
    platform = owner_side.make_platform(build, folder)
    owner = owner_side.make_owner(platform, "owned", POLICY["owned"])
    root = release.root()
    data = [release.code, release.variables, "usr/share/qemu/linuxboot_dma.bin", "usr/share/qemu/kvmvapic.bin"]
    files = initramfs.cpio.parts.closure(root, ["usr/bin/qemu-system-x86_64"], data)
    initrd = folder / "guest-initrd"
    initrd.write_bytes(initramfs.cpio.archive(initramfs.cpio.contents(Path("/bin/busybox").read_bytes(), GUEST_INIT)))
    files["guest/vmlinuz"] = build / "guest" / "vmlinuz"
    files["guest/initrd"] = initrd
    files["guest/dh-cert"], files["guest/session"] = owner.session
    errand = LAUNCH.format(
        cbitpos=packing.CBITPOS, reduced=packing.REDUCED_PHYS_BITS, code=release.code, cmdline=CMDLINE,
        variables=release.variables,
    )  # fmt: skip
    # Coherent encryption, as Milan has: KVM swallows WBINVD, by which OVMF flushes what it makes private.
    host = linux.boot(release.kernel(), files, errand, folder, nv=platform.nv, time_limit=TIME_LIMIT, hw_coherency=True)
    return Launched(host, release, files, {"blank": owner_side.NO_SESSION_TIK, "owned": owner.tik})


# -- the owner's computation, from the files alone ---------------------------------------------


def expected_measure(launched: Launched, name: str, nonce: bytes) -> bytes:
    digest = hashlib.sha256(launched.files[launched.release.code].read_bytes()).digest()
    message = bytes([0x04, *API]) + struct.pack("<I", POLICY[name]) + digest + nonce
    return hmac.new(launched.tik[name], message, hashlib.sha256).digest()


# -- the launches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICY)
def test_qemu_reports_the_guest_as_the_firmware_has_it(launched: Launched, name: str) -> None:
    sev = launched.launch(name).sev
    assert (sev["enabled"], sev["policy"], sev["state"]) == (True, POLICY[name], "launch-secret")
    assert (sev["api-major"], sev["api-minor"], sev["build-id"]) == API


@pytest.mark.parametrize("name", POLICY)
def test_launch_measure_is_the_independent_computation(launched: Launched, name: str) -> None:
    launch = launched.launch(name)
    assert launch.measure == expected_measure(launched, name, launch.nonce)


def test_the_guests_kernel_says_that_it_is_encrypted(launched: Launched) -> None:
    owned = launched.part("owned")
    print(owned)
    assert "guest: Memory Encryption Features active: AMD SEV" in owned
    assert re.search(r"^guest: Linux \d", owned, re.MULTILINE)
    assert re.search(rf"^guest: command line {re.escape(CMDLINE)}", owned, re.MULTILINE)


def test_both_guests_leave_nothing_in_the_firmware(launched: Launched) -> None:
    names = [command["command"] for command in launched.host.commands if command["status"] == "SUCCESS"]
    for name in ("LAUNCH_START", "ACTIVATE", "LAUNCH_MEASURE", "LAUNCH_FINISH", "DEACTIVATE", "DECOMMISSION"):
        # QEMU finishes a launch when the guest is to run: `blank` never is.
        assert names.count(name) == (1 if name == "LAUNCH_FINISH" else 2), name
    assert "referee: done" in launched.host.text
