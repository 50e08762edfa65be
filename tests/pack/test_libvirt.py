# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A guests.toml from a libvirt domain: what libvirt's documentation has as an example, and what nobody should send."""

from __future__ import annotations

import base64
import tomllib
from pathlib import Path

import pytest

from pack import config, libvirt
from pack.errors import PackError

# The elements of the two full examples in libvirt's docs/kbase/launch_security_sev.rst: a Q35 machine that boots from
# its disk, by OVMF.
DOCUMENTED = """<domain type='kvm'>
  <name>sev-dummy</name>
  <memory unit='KiB'>4194304</memory>
  <currentMemory unit='KiB'>4194304</currentMemory>
  <memoryBacking><locked/></memoryBacking>
  <vcpu placement='static'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-3.0'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/edk2/ovmf/OVMF_CODE.fd</loader>
    <nvram>/var/lib/libvirt/qemu/nvram/sev-dummy_VARS.fd</nvram>
  </os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'><source file='a.qcow2'/><target dev='sda' bus='scsi'/></disk>
    <rng model='virtio'><driver iommu='on'/></rng>
  </devices>
  <launchSecurity type='sev'>
    <cbitpos>47</cbitpos>
    <reducedPhysBits>1</reducedPhysBits>
    <policy>0x0003</policy>
  </launchSecurity>
</domain>
"""
# As formatdomain.html has it: booted directly, with the owner's session.
CERT, SESSION = base64.b64encode(bytes(range(256)) * 8 + bytes(36)).decode(), base64.b64encode(b"s" * 128).decode()
DIRECT = f"""<?xml version='1.0' encoding='UTF-8'?>
<!-- made by hand -->
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <memory unit='MiB'>512</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <kernel>/boot/vmlinuz "6.1"</kernel>
    <initrd>/boot/initrd.img</initrd>
    <cmdline>console=ttyS0 root=LABEL=a\\b &amp; quiet</cmdline>
  </os>
  <launchSecurity type='sev' kernelHashes='yes'>
    <policy>0x0001</policy>
    <cbitpos>51</cbitpos>
    <reducedPhysBits>5</reducedPhysBits>
    <dhCert>{CERT[:1000]}
            {CERT[1000:]}</dhCert>
    <session>{SESSION}</session>
  </launchSecurity>
</domain>
"""


def guest_of(text: str) -> dict:
    (guest,) = tomllib.loads(libvirt.convert(text.encode())[""].decode())["guest"]
    return guest


def test_the_documented_example(pack, tmp_path: Path) -> None:
    (tmp_path / "domain.xml").write_text(DOCUMENTED)
    text = pack("--from-libvirt", tmp_path / "domain.xml").stdout
    (guest,) = tomllib.loads(text)["guest"]
    assert guest == {
        "name": "sev-dummy", "memory": "4G", "vcpus": 4, "encryption": "sev",
        "sev": {"policy": 3, "cbitpos": 47, "reduced-phys-bits": 1},
    }  # fmt: skip
    for words in (
        "# kernel = ..., initrd = ...: those that the domain's loader finds",
        '# on_reboot = "restart"',
        "# not taken: 2 devices",
    ):
        assert words in text
    (tmp_path / "guests.toml").write_text(text)  # it says what is still to be named
    done = pack(tmp_path / "guests.toml", "--manifest-only", "-o", tmp_path / "x", check=False)
    assert 'guest "sev-dummy": kernel: is missing' in done.stderr


def test_a_directly_booted_domain_is_taken_whole(pack, tmp_path: Path) -> None:
    (tmp_path / "web.xml").write_text(DIRECT)
    said = pack("--from-libvirt", tmp_path / "web.xml", "-o", tmp_path / "guests.toml").stdout
    assert said.split() == [str(tmp_path / name) for name in ("guests.toml", "web_godh.b64", "web_session.b64")]
    text = (tmp_path / "guests.toml").read_text()
    assert "# kernelHashes: not needed" in text and "not taken" not in text
    for name in ("vmlinuz", "initrd.img"):
        (tmp_path / name).write_bytes(b"x")
    text = (
        text.replace('/boot/vmlinuz \\\\"6.1\\\\"', "vmlinuz")
        .replace('/boot/vmlinuz \\"6.1\\"', "vmlinuz")
        .replace("/boot/", "")
    )
    (tmp_path / "guests.toml").write_text(text)
    (guest,), _ = config.read(tmp_path / "guests.toml", {})
    assert (guest.name, guest.memory, guest.vcpus) == ("web", 512 << 20, 2)
    assert guest.cmdline == "console=ttyS0 root=LABEL=a\\b & quiet"
    assert (guest.sev.policy, guest.sev.cbitpos, guest.sev.reduced_phys_bits) == (1, 51, 5)
    assert base64.b64encode(guest.sev.dh_cert).decode() == CERT and guest.sev.session == b"s" * 128
    printed = pack("--from-libvirt", tmp_path / "web.xml")
    assert "-o writes web_godh.b64 and web_session.b64, too" in printed.stderr
    assert guest_of(DIRECT)["kernel"] == '/boot/vmlinuz "6.1"'


@pytest.mark.parametrize(
    ("element", "memory"),
    [("<memory>524288</memory>", "512M"), ("<memory unit='b'>2097152</memory>", "2M"), ("<memory unit='G'>3</memory>", "3G"),
     ("<memory unit='MB'>500</memory>", "478M"), ("<memory unit='KiB'>500000</memory>", "490M"), ("<memory unit='TiB'>1</memory>", "1024G")],
)  # fmt: skip
def test_memory_is_rounded_up(element: str, memory: str) -> None:
    text = DIRECT.replace("<memory unit='MiB'>512</memory>", element)
    assert guest_of(text)["memory"] == memory
    assert ("rounded up" in libvirt.convert(text.encode())[""].decode()) == (memory in ("478M", "490M"))


SEV_OF = DIRECT[DIRECT.index("  <launchSecurity") : DIRECT.index("</domain>")]
ENTITIES = "<!DOCTYPE domain [<!ENTITY a 'aaaaaaaaaa'>{}]>".format(
    "".join(
        f"<!ENTITY {b} '&{a};&{a};&{a};&{a};&{a};&{a};&{a};&{a};'>" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
)
HOSTILE = {
    "entity bomb": (DIRECT.replace("<!-- made by hand -->", ENTITIES).replace("<name>web", "<name>&i;"), "it has a document type"),
    "external entity": (
        DIRECT.replace("<!-- made by hand -->", '<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        "it has a document type",
    ),
    "external subset": (DIRECT.replace("<!-- made by hand -->", '<!DOCTYPE domain SYSTEM "http://x/y">'), "document type"),
    "unknown entity": (DIRECT.replace("web", "&web;"), "this is not XML: undefined entity"),
    "encoding": (DIRECT.replace("UTF-8", "klingon"), "this is not XML: unknown encoding"),
    "deep": ("<domain>" + "<a>" * 100000, "nested more than 64 deep"),
    "cut": (DIRECT[:-30], "this is not XML"),
    "empty": ("", "this is not XML"),
    "not XML": ("[[guest]]", "this is not XML"),
    "two roots": (DIRECT + "<domain/>", "this is not XML: junk after document element"),
    "another root": ("<network/>", "this is no domain: it begins with <network>"),
    "not encrypted": (DIRECT.replace(SEV_OF, ""), "launchSecurity: a domain with type 'sev' is expected; this one has none"),
    "SEV-SNP": (DIRECT.replace("type='sev'", "type='sev-snp'"), "this one has type 'sev-snp'"),
    "no name": (DIRECT.replace("<name>web</name>", ""), "name: '': guests have 1 to 31"),
    "name": (DIRECT.replace(">web<", ">my web<"), "name: 'my web': guests have 1 to 31"),
    "name twice": (DIRECT.replace("<vcpu>", "<name>x</name><vcpu>"), "name: is there twice"),
    "ARM": (DIRECT.replace("x86_64", "aarch64"), "os: type: its architecture is 'aarch64'"),
    "no memory": (DIRECT.replace("<memory unit='MiB'>512</memory>", ""), "memory: is missing"),
    "no number": (DIRECT.replace(">512<", ">many<"), "memory: must be a number, not 'many'"),
    "no memory at all": (DIRECT.replace(">512<", ">0<"), "memory: must be a number, not '0'"),
    "memory large": (DIRECT.replace(">512<", ">1048577<"), "memory: 1048577 MiB is more than 1T"),
    "memory of no unit": (DIRECT.replace("'MiB'", "'pages'"), "memory: 'pages' is no unit of libvirt's"),
    "vcpus": (DIRECT.replace("<vcpu>2", "<vcpu>65"), "vcpu: must be between 1 and 64, not 65"),
    "no policy": (DIRECT.replace("<policy>0x0001</policy>", ""), "launchSecurity: policy: is missing"),
    "SEV-ES": (DIRECT.replace("0x0001", "0x0005"), "policy: 0x5 demands SEV-ES"),
    "reserved": (DIRECT.replace("0x0001", "0x40"), "policy: 0x40 has reserved bits"),
    "policy of two bases": (DIRECT.replace("0x0001", "10"), "policy: 10 could be decimal or hexadecimal"),
    "policy large": (DIRECT.replace("0x0001", "0x100000000"), "policy: must be between 0 and 4294967295"),
    "cbitpos": (DIRECT.replace(">51<", ">52<"), "launchSecurity/cbitpos: must be between 32 and 51, not 52"),
    "cert alone": (DIRECT.replace(f"<session>{SESSION}</session>", ""), "dhCert and session come together"),
    "session short": (DIRECT.replace(SESSION, "AAAA"), "session: holds 3 bytes, not 128"),
    "placeholder": (DIRECT.replace(SESSION, "AAACCCDD=FFFCCCDSDS"), "session: is not base64 text"),
    "variable": (DIRECT.replace("/boot/initrd", "${BUILD}/initrd"), "${ has a meaning in guests.toml"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_taken_is_refused_in_words(tmp_path: Path, case: str) -> None:
    text, words = HOSTILE[case]
    (tmp_path / "domain.xml").write_text(text)
    with pytest.raises(PackError) as error:
        libvirt.read(tmp_path / "domain.xml")
    assert words in str(error.value) and str(error.value).startswith(f"{tmp_path / 'domain.xml'}: ")
    assert len(str(error.value)) < 400


def test_control_characters_do_not_reach_the_toml_or_the_terminal(pack, tmp_path: Path) -> None:
    guest = guest_of(DIRECT.replace("quiet", "a&#9;b&#10;[guest.sev]&#127;\u2028c"))
    assert guest["cmdline"].endswith("a\tb\n[guest.sev]\x7f\u2028c") and guest["sev"]["policy"] == 1
    (tmp_path / "domain.xml").write_text(DIRECT.replace(">web<", ">a\u202eb<"))
    done = pack("--from-libvirt", tmp_path / "domain.xml", check=False)
    assert done.returncode == 1 and "\u202e" not in done.stderr


def test_a_refused_domain_writes_nothing(pack, tmp_path: Path) -> None:
    (tmp_path / "domain.xml").write_text(HOSTILE["cert alone"][0])
    assert pack("--from-libvirt", tmp_path / "domain.xml", "-o", tmp_path / "guests.toml", check=False).returncode == 1
    (tmp_path / "large.xml").write_bytes(b" " * ((1 << 20) + 1))
    done = pack("--from-libvirt", tmp_path / "large.xml", "-o", tmp_path / "guests.toml", check=False)
    assert done.returncode == 1 and "more than 1048576 bytes" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["domain.xml", "large.xml"]
    done = pack("--from-libvirt", tmp_path / "domain.xml", "--manifest-only", check=False)
    assert done.returncode == 2 and "--from-libvirt stands alone, but for -o" in done.stderr
