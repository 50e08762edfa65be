# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Where the tools write: into a device or FIFO that is there, through a symbolic link, and a file whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from owner import certificate
from pack import files
from pack.errors import PackError

ROOT = Path(__file__).resolve().parents[2]
SMALL = 16384  # bytes: the largest file of a full disk; less than any output


def limit_files() -> None:
    """A full disk for one process: a write beyond that size fails. Python ignores the signal that goes with it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))


def start(words: list[object], **more) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def tools(guests_toml: Path, empty_efi: Path, tmp_path: Path) -> dict[str, list[object]]:
    """A command for each tool that writes one large file, without the output's name."""
    (tmp_path / "big").write_bytes(bytes(100_000))
    busybox = tmp_path / "busybox"
    busybox.write_bytes(os.urandom(200_000))
    return {
        "pack.py": [ROOT / "guest" / "pack.py", guests_toml, "--efi", empty_efi, "-q", "-o"],
        "image.py": [ROOT / "tests" / "system" / "image.py", "--file", f"BIG={tmp_path / 'big'}"],
        "make-initramfs": [ROOT / "guest" / "linux" / "make-initramfs", "--busybox", busybox, "-o"],
    }


TOOLS = ("pack.py", "image.py", "make-initramfs")


@pytest.fixture
def expected(tools, tmp_path: Path) -> Callable[[str], bytes]:
    """What the tool writes into a new file."""

    def run(tool: str) -> bytes:
        output = tmp_path / f"expected-{tool}"
        assert start([*tools[tool], output]).returncode == 0
        return output.read_bytes()

    return run


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("tool", TOOLS)
def test_an_output_keeps_its_kind(tools, expected, tmp_path: Path, tool: str) -> None:
    whole = expected(tool)
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link-to-link").symlink_to("link")
    (tmp_path / "dangling").symlink_to("new")
    for name, target in (("link-to-link", "real"), ("dangling", "new")):
        assert start([*tools[tool], tmp_path / name]).returncode == 0
        assert (tmp_path / name).is_symlink() and (tmp_path / target).read_bytes() == whole
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    assert (tmp_path / "link").is_symlink()

    os.mkfifo(tmp_path / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    assert start([*tools[tool], tmp_path / "fifo"]).returncode == 0
    reader.join(60)
    assert got == [whole] and stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)

    assert start([*tools[tool], os.devnull]).returncode == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert not left_over(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("tool", TOOLS)
def test_a_device_node_stays_one(tools, build: Path, tool: str) -> None:
    """Beside what is built, since device nodes in /tmp cannot be opened on Debian 13: it is mounted nodev."""
    with tempfile.TemporaryDirectory(dir=build) as folder:
        null, full = Path(folder) / "null", Path(folder) / "full"
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        assert start([*tools[tool], null]).returncode == 0
        done = start([*tools[tool], full])
        assert done.returncode == 1 and f"{full}: No space left on device" in done.stderr
        assert stat.S_ISCHR(null.stat().st_mode) and stat.S_ISCHR(full.stat().st_mode)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_full_disk_leaves_the_old_file(tools, tmp_path: Path, tool: str) -> None:
    (tmp_path / "old").write_bytes(b"before")
    for name in ("old", "new"):
        done = start([*tools[tool], tmp_path / name], preexec_fn=limit_files)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert (tmp_path / "old").read_bytes() == b"before" and not (tmp_path / "new").exists()
    assert not left_over(tmp_path)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_same_bytes_leave_the_file_alone(tools, tmp_path: Path, tool: str) -> None:
    """So that make, and whoever watches the file, sees a change only when there is one."""
    output = tmp_path / "out"
    assert start([*tools[tool], output]).returncode == 0
    os.utime(output, (1, 1))
    before = output.stat()
    assert start([*tools[tool], output]).returncode == 0
    assert (output.stat().st_ino, output.stat().st_mtime) == (before.st_ino, 1)
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    os.utime(output, (1, 1))
    assert start([*tools[tool], output]).returncode == 0
    assert output.stat().st_mtime != 1


@pytest.mark.parametrize("force", ["", "--force"])
def test_what_was_read_is_not_overwritten(guests_toml: Path, empty_efi: Path, tmp_path: Path, force: str) -> None:
    """However the output names it. Only what a tool is asked to replace is."""
    (tmp_path / "file").write_bytes(os.urandom(5000))
    (tmp_path / "key").write_bytes(bytes(16))
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "domain.xml").write_text(
        "<domain><name>web</name><memory>16384</memory>"
        "<launchSecurity type='sev'><policy>0x1</policy></launchSecurity></domain>"
    )
    toml, file, packed = tmp_path / "flat.toml", tmp_path / "file", tmp_path / "packed.efi"
    toml.write_text('[[guest]]\nname = "a"\nmemory = "4M"\nencryption = "none"\n' + f'image = "{file}"\n')
    pack, linux = ROOT / "guest" / "pack.py", ROOT / "guest" / "linux"
    image, owner = ROOT / "tests" / "system" / "image.py", ROOT / "guest" / "owner.py"
    assert start([pack, guests_toml, "--efi", empty_efi, "-q", "-o", packed]).returncode == 0
    secret = [owner, "secret", "build", "--tik", tmp_path / "key", "--tek", "00" * 16, "--launch-measure-blob", "00" * 48,
              "--plain", file]  # fmt: skip
    commands: list[list[object]] = [
        [pack, toml, "--manifest-only", "-o", toml],
        [pack, toml, "--efi", packed, "-o", file],
        [pack, toml, "--efi", packed, "-o", tmp_path / "link"],
        [pack, "--from-libvirt", tmp_path / "domain.xml", "-o", tmp_path / "domain.xml"],
        [image, packed, "--boot", packed],
        [image, tmp_path / "link", "--file", f"A={file}"],
        [linux / "make-initramfs", "-o", file, file],
        [linux / "make-initramfs", "-o", file, "--file", f"a:{file}"],
        [linux / "make-volume", "--key", tmp_path / "key", "-o", tmp_path / "key", toml],
        [linux / "make-volume", "--key", tmp_path / "key", "-o", file, file],
    ]
    if force:
        commands = [[*secret, tmp_path / "key", tmp_path / "p", force], [*secret, tmp_path / "h", file, force]]
    before = {path: path.read_bytes() for path in (toml, packed, file, tmp_path / "key", tmp_path / "domain.xml")}
    for words in commands:
        done = start(words)
        assert done.returncode in (1, 2) and done.stderr.count("\n") >= 1, (words, done)
        assert "one of the files that were read" in done.stderr or "are two files" in done.stderr, (words, done.stderr)
        assert before == {path: path.read_bytes() for path in before}, words
    assert start([pack, toml, "--efi", packed, "-q", "-o", packed]).returncode == 0
    assert packed.read_bytes() != before[packed]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        assert files.write(tmp_path / "new", b"x") is True
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert files.write(tmp_path / "new", b"x") is False
    assert files.write(tmp_path / "new", b"y") is True


@pytest.mark.root
def test_a_file_stays_its_owners(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"before")
    os.chown(tmp_path / "theirs", 12345, 23456)
    files.write(tmp_path / "theirs", b"after")
    status = (tmp_path / "theirs").stat()
    assert (status.st_uid, status.st_gid) == (12345, 23456) and (tmp_path / "theirs").read_bytes() == b"after"


@pytest.mark.parametrize(
    ("name", "words"),
    [("folder", "this is a folder"), ("no/where", "No such file"), ("file/x", "Not a directory"), ("n" * 256, "name too long"),
     ("loop", "levels of symbolic links")],
)  # fmt: skip
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PackError) as error:
        files.write(tmp_path / name, b"x")
    assert words in str(error.value) and str(error.value).startswith(f"{tmp_path / name}: ")
    files.write(tmp_path / ("n" * 255), b"the longest name")


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "ten").write_bytes(b"0123456789")
    assert files.read(tmp_path / "ten", 10) == b"0123456789"
    with pytest.raises(PackError, match="more than 9 bytes"):
        files.read(tmp_path / "ten", 9)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(PackError, match="a device, not a file"):
            files.read(Path(device))
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(b"through a pipe"))
    writer.start()
    assert files.read(tmp_path / "fifo") == b"through a pipe"
    writer.join()


# ---------------------------------------------------------------- a set of keys


@pytest.fixture
def session(tmp_path: Path) -> list[object]:
    key = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "pdh").write_bytes(certificate.encode(key.public_key()))
    (tmp_path / "keys").mkdir()
    return [ROOT / "guest" / "owner.py", "session", tmp_path / "pdh", "1", "--folder", tmp_path / "keys"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_set_of_keys_is_written_whole_or_not_at_all(session, tmp_path: Path) -> None:
    """On a disk that is full after the second file, and with a folder in the place of one of them."""
    keys = tmp_path / "keys"
    for limit in (8, 100, 1000):
        done = start(session, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        assert done.returncode == 1 and content(keys) == {}
    assert start(session).returncode == 0
    good = content(keys)
    assert len(good) == 4
    for limit in (8, 100, 1000):
        done = start(
            [*session, "--force"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        assert done.returncode == 1 and content(keys) == good
    assert start([*session, "--force"]).returncode == 0
    assert all(content(keys)[name] != data for name, data in good.items())
    assert {name for name in content(keys)} == set(good)


@pytest.mark.parametrize("bad", ["vm_tik.bin", "vm_tek.bin", "vm_godh.b64", "vm_session.b64"])
def test_a_set_that_cannot_be_replaced_is_kept(session, tmp_path: Path, bad: str) -> None:
    keys = tmp_path / "keys"
    start(session)
    (keys / bad).unlink()
    good = content(keys)
    done = start(session)
    assert done.returncode == 1 and "--force" in done.stderr and content(keys) == good
    (keys / bad).mkdir()
    done = start([*session, "--force"])
    assert done.returncode == 1 and f"{keys / bad}: this is a folder" in done.stderr
    (keys / bad).rmdir()
    assert content(keys) == good


@pytest.mark.parametrize("fails_at", range(1, 9))
def test_whatever_step_fails_the_old_set_is_back(tmp_path: Path, monkeypatch, fails_at: int) -> None:
    """Each of the renames that put a new set in the place of an old one."""
    old = {tmp_path / name: (f"old {name}".encode(), 0o600) for name in "abcd"}
    new = {path: (b"new", 0o600) for path in old}
    files.write_set({path: old[path] for path in list(old)[:3]}, overwrite=False)  # the fourth is missing
    before, real, count = content(tmp_path), os.replace, 0

    def replace(source, target) -> None:
        nonlocal count
        count += 1
        if count == fails_at:
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    if fails_at <= 7:  # three are moved away, four take their places
        with pytest.raises(PackError, match="No space left"):
            files.write_set(new, overwrite=True)
        assert content(tmp_path) == before
    else:
        files.write_set(new, overwrite=True)
        assert content(tmp_path) == {name: b"new" for name in "abcd"}


@pytest.mark.parametrize("when", range(1, 8))
def test_ctrl_c_at_any_step_leaves_one_whole_set(tmp_path: Path, monkeypatch, when: int) -> None:
    """Right behind each of the renames."""
    old = {tmp_path / name: (f"old {name}".encode(), 0o600) for name in "abcd"}
    files.write_set({path: old[path] for path in list(old)[:3]}, overwrite=False)
    before, real, count = content(tmp_path), os.replace, 0

    def replace(source, target) -> None:
        nonlocal count
        count += 1
        real(source, target)
        if count == when:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # to no other thread: the tools have one

    monkeypatch.setattr(os, "replace", replace)
    before_it = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if this runs in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            files.write_set({path: (b"new", 0o600) for path in old}, overwrite=True)
    finally:
        signal.signal(signal.SIGINT, before_it)
    assert count >= when and content(tmp_path) in (before, {name: b"new" for name in "abcd"})


@pytest.mark.parametrize("force", [True, False])
def test_two_keys_are_never_written_to_one_place(session, tmp_path: Path, force: bool) -> None:
    keys = tmp_path / "keys"
    if force:
        (keys / "vm_tik.bin").write_bytes(b"before")
    else:
        keys.rename(tmp_path / "elsewhere")
        keys.symlink_to("elsewhere")  # a folder that is a link is no harm
        assert start(session).returncode == 0
        return
    (keys / "vm_tek.bin").symlink_to("vm_tik.bin")
    done = start([*session, "--force"])
    assert (
        done.returncode == 1
        and f"{keys / 'vm_tik.bin'} and {keys / 'vm_tek.bin'} are links to the same file" in done.stderr
    )
    assert (keys / "vm_tik.bin").read_bytes() == b"before" and len(list(keys.iterdir())) == 2
    (keys / "vm_tik.bin").unlink()  # the link dangles
    assert start([*session, "--force"]).returncode == 1 and len(list(keys.iterdir())) == 1


def test_secret_keys_are_their_owners_alone(session, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "elsewhere").chmod(0o644)
    (keys / "vm_tik.bin").symlink_to(tmp_path / "elsewhere")
    assert start([*session, "--force"]).returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()}
    assert modes == {"vm_tik.bin": 0o600, "vm_tek.bin": 0o600, "vm_godh.b64": 0o644, "vm_session.b64": 0o644}
    assert (keys / "vm_tik.bin").is_symlink() and len((tmp_path / "elsewhere").read_bytes()) == 16


def test_keys_go_into_a_fifo_that_is_there(session, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys" / "vm_tik.bin")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "keys" / "vm_tik.bin").read_bytes()))
    reader.start()
    assert start([*session, "--force"]).returncode == 0
    reader.join(60)
    assert len(got[0]) == 16 and stat.S_ISFIFO((tmp_path / "keys" / "vm_tik.bin").stat().st_mode)


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", "", "x/"])
def test_keys_stay_in_their_folder(session, tmp_path: Path, name: str) -> None:
    done = start([*session, "--name", name])
    assert done.returncode == 2 and "is not the beginning of a file's name" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "pdh"] and content(tmp_path / "keys") == {}


@pytest.mark.root
@pytest.mark.parametrize("enough", [True, False])
def test_a_disk_is_written_if_it_is_large_enough(tmp_path: Path, enough: bool) -> None:
    """A loop device, where the test may have one."""
    (tmp_path / "backing").write_bytes(b"\xff" * (1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", tmp_path / "backing"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    disk = Path(made.stdout.strip())
    try:
        if enough:
            files.write(disk, b"x" * 70_000)
        else:
            with pytest.raises(PackError, match="the disk has 1048576 bytes, and 1048577 are needed"):
                files.write(disk, bytes((1 << 20) + 1))
        assert disk.is_block_device()
    finally:
        subprocess.run(["losetup", "--detach", disk], check=True)
    assert (tmp_path / "backing").read_bytes() == (b"x" * 70_000 if enough else b"").ljust(1 << 20, b"\xff")
