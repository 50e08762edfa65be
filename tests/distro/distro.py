#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Builds and tests Sevisor on fresh Debian releases: for each a minimal system by debootstrap, in which root and then a user
with sudo do what the README says, with the project's own set-up. A table at the end tells step, result, and minutes.

Needs root (chroot), and the mirror that this machine's apt uses. What is mounted is mounted in a namespace of its own, and is
gone when the last process has ended, however it ends. The machine's own apt is asked, not changed.

Kept in $SEVISOR_CACHE, else $XDG_CACHE_HOME/sevisor, else ~/.cache/sevisor, in the folder distro/:

  debootstrap/          the tool, from its package, where this machine has none
  <release>.tar         the minimal system, so that it is made once
  <release>-<step>.log  what a step printed, last time
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until cli.call takes over

import argparse  # noqa: E402
import fcntl  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from importlib.machinery import SourceFileLoader  # noqa: E402
from importlib.util import module_from_spec, spec_from_loader  # noqa: E402
from pathlib import Path  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "guest"))

from pack import cli  # noqa: E402
from pack.errors import PackError  # noqa: E402

# Those with True have to pass; the next release is only looked at.
RELEASES = {"bookworm": True, "trixie": True, "forky": False}
USER = "builder"
# What a person installs before the first `make`: all else is the set-up's business. sudo is for the user.
BY_HAND = ("make", "sudo")
STEP_LIMIT = 3600  # seconds
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# In namespaces of mounts and processes: the system's own file systems below $1, then the command in it. /tmp is as Debian 13 mounts
# it. The disks of this machine are not in its /dev, but for loop devices, which the packer's tests use.
INSIDE = """
set -eu
root=$1; shift
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
exec chroot "$root" "$@"
"""


class Failure(PackError):
    pass


class StepFailure(Exception):
    """Of one release: told in the table, and others go on."""


def fetch_kernel():
    """guest/linux/fetch-kernel, which knows the mirror."""
    loader = SourceFileLoader("fetch_kernel", str(ROOT / "guest" / "linux" / "fetch-kernel"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@dataclass
class Result:
    release: str
    step: str
    words: str
    minutes: float


@dataclass
class Release:
    name: str
    folder: Path  # of the cache
    mirror: str
    results: list[Result] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / f"{self.name}.root"

    def step(self, name: str, action: Callable[[Path], object]) -> None:
        """Runs an action, which is given a file for what it prints."""
        log = self.folder / f"{self.name}-{re.sub(r'[^a-z0-9]+', '-', name)}.log"
        cli.say(f"== {self.name}: {name}")
        begun, words = time.monotonic(), "FAILED"
        try:
            action(log)
            words = "ok"
        except StepFailure as failure:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else ""
            cli.say(f"{tail}\n== {self.name}: {name}: {failure} (all of it: {log})")
            raise
        finally:
            self.results.append(Result(self.name, name, words, (time.monotonic() - begun) / 60))

    def run(self, log: Path, *command: str, user: str = "root") -> None:
        """A command in the new system. It has no terminal, and this machine's environment only where a proxy is named."""
        home = "/root" if user == "root" else f"/home/{user}"
        settings = {"HOME": home, "USER": user, "PATH": PATH, "LANG": "C.UTF-8"}
        settings |= {
            key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")
        }
        as_user = ("runuser", "-u", user, "--") if user != "root" else ()
        run_logged(log, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-c", INSIDE, "-",
                   str(self.root), *as_user, "env", "-i", *(f"{key}={value}" for key, value in settings.items()), *command)  # fmt: skip

    def make(self, user: str, *words: str) -> Callable[[Path], None]:
        """make in this user's copy of the tree, as it is typed."""
        return lambda log: self.run(log, "bash", "-c", 'cd ~/sevisor && make "$@"', "-", *words, user=user)


def run_logged(log: Path, *command: str) -> None:
    """It ends with this process, and after STEP_LIMIT at the latest."""
    with log.open("w") as out:
        try:
            done = subprocess.run(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=STEP_LIMIT)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StepFailure(f"not done after {STEP_LIMIT // 60} minutes") from None
    if done.returncode:
        raise StepFailure(f"returned {done.returncode}")


# ---------------------------------------------------------------- a fresh system


def debootstrap(folder: Path) -> tuple[list[str], Path]:
    """The command, and the folder of its scripts."""
    if shutil.which("debootstrap"):
        return ["debootstrap"], Path("/usr/share/debootstrap/scripts")
    tool = folder / "debootstrap"
    if not tool.exists():
        fresh = folder / "debootstrap.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for command in (
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "debootstrap"],
            ["sh", "-c", "dpkg-deb -x *.deb ."],
        ):
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"there is no debootstrap, and it cannot be had: {done.stderr.strip()}")
        fresh.rename(tool)
    if not shutil.which("wget"):
        raise Failure("debootstrap needs wget: apt-get install wget")
    data = tool / "usr/share/debootstrap"
    return ["env", f"DEBOOTSTRAP_DIR={data}", "sh", str(tool / "usr/sbin/debootstrap")], data / "scripts"


def apt_settings() -> str:
    """What this machine's apt is told of the way to its mirror, such as a proxy, and of the mirror's clock."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    wanted = re.compile(r"Acquire::(http|https|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])\b", re.IGNORECASE)
    return "".join(f"{line}\n" for line in dump.splitlines() if wanted.match(line))


def fresh_system(release: Release, log: Path) -> None:
    """The release's minimal system in release.root, unpacked if it was made before."""
    base = release.folder / f"{release.name}.tar"
    shutil.rmtree(release.root, ignore_errors=True)
    if base.exists():
        release.root.mkdir()
        run_logged(log, "tar", "--numeric-owner", "-C", str(release.root), "-xpf", str(base))
    else:
        command, scripts = debootstrap(release.folder)
        if KEYRING.exists():
            command.append(f"--keyring={KEYRING}")
        if release.mirror.startswith("https:"):
            command.append("--include=ca-certificates")
        # A debootstrap that is older than the release: sid's script has served for all of Debian's releases for years.
        script = [] if (scripts / release.name).exists() else [str(scripts / "sid")]
        run_logged(log, *command, "--variant=minbase", release.name, str(release.root), release.mirror, *script)
        run_logged(
            log.with_suffix(".tar.log"), "tar", "--numeric-owner", "-C", str(release.root), "-cpf", f"{base}.new", "."
        )
        Path(f"{base}.new").rename(base)


def move_in(release: Release, log: Path) -> None:
    """Names and proxies as this machine has them, a user with sudo, and a copy of the tree for each."""
    root = release.root
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    with (root / "etc/hosts").open("a") as hosts:
        hosts.write(f"127.0.1.1 {os.uname().nodename}\n")
    (root / "etc/apt/apt.conf.d/90this-machine").write_text(apt_settings())
    for number in range(16):
        run_logged(log, "mknod", "-m", "660", str(root / f"dev/loop{number}"), "b", "7", str(number))
    run_logged(log, "mknod", "-m", "660", str(root / "dev/loop-control"), "c", "10", "237")
    line = (f"apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install {' '.join(BY_HAND)} && "
            f"useradd -m -k /etc/skel -s /bin/bash {USER} && chmod 700 /home/{USER} && "
            f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}")  # fmt: skip
    release.run(log, "bash", "-c", line)
    for home, owner in ((root / "root", None), (root / "home" / USER, (root / "home" / USER).stat())):
        copy_tree(home / "sevisor")
        if owner:
            run_logged(
                log.with_suffix(".chown.log"), "chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(home / "sevisor")
            )


def copy_tree(target: Path) -> None:
    """The project's files, as a clone of this tree would have them."""
    names = subprocess.run(["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
                            "--exclude-standard"], capture_output=True, text=True)  # fmt: skip
    if names.returncode:  # no git here: an unpacked archive
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", ".build", "__pycache__"))
        return
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # Some tests ask git for the project's files.
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", target, *words], check=True, capture_output=True)


def compare(release: Release, log: Path) -> None:
    """Root and the user built in different folders."""
    for name in ("BOOTX64.EFI", "sevisor.img"):
        one, two = (release.root / home / "sevisor/.build" / name for home in ("root", f"home/{USER}"))
        done = subprocess.run(["cmp", one, two], capture_output=True, text=True)
        log.write_text(done.stdout + done.stderr)
        if done.returncode:
            raise StepFailure(f"two builds of {name} differ")


def try_release(release: Release, run: bool, keep: bool) -> None:
    try:
        release.step("minimal system", lambda log: fresh_system(release, log))
        release.step("make and sudo by hand", lambda log: move_in(release, log))
        release.step("root: make image", release.make("root", "image"))
        release.step("user with sudo: make image", release.make(USER, "image"))
        release.step("same bytes", lambda log: compare(release, log))
        release.step("user: make test-unit", release.make(USER, "test-unit"))
        release.step("user: make test-pack", release.make(USER, "test-pack"))
        if run:
            release.step("user: make run", release.make(USER, "run"))
    except StepFailure:
        pass
    finally:
        if not keep:
            shutil.rmtree(release.root, ignore_errors=True)


# ---------------------------------------------------------------- what is told


def table(results: Sequence[Result]) -> str:
    rows = [
        ("release", "step", "result", "minutes"),
        *((r.release, r.step, r.words, f"{r.minutes:.1f}") for r in results),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3].rjust(7)]) for row in rows
    )


def failed(results: Sequence[Result]) -> list[str]:
    """The releases that have to pass, and did not."""
    return sorted({r.release for r in results if r.words != "ok" and RELEASES[r.release]})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=cli.EXIT_STATUS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help=f"of {', '.join(RELEASES)} (default: all)")
    parser.add_argument(
        "--run", action="store_true", help="also `make run`: builds the SEV machine there, which takes long"
    )
    parser.add_argument("--fresh", action="store_true", help="make the minimal systems anew")
    parser.add_argument("--keep", action="store_true", help="leave the systems in the cache, for a look")
    args = parser.parse_args()
    for name in args.releases:
        if name not in RELEASES:
            parser.error(f"{name} is none of {', '.join(RELEASES)}")
    if os.geteuid() != 0:
        raise Failure("fresh systems are made with chroot: run this as root (sudo make test-distro)")
    fetch = fetch_kernel()
    folder = fetch.cache_folder().absolute() / "distro"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        releases = [Release(name, folder, fetch.mirror()) for name in args.releases or RELEASES]
        for release in releases:
            if args.fresh:
                (folder / f"{release.name}.tar").unlink(missing_ok=True)
            try_release(release, args.run, args.keep)
    results = [result for release in releases for result in release.results]
    cli.say(f"\n{table(results)}")
    if found := failed(results):
        raise Failure(f"not on {', '.join(found)}: the logs are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.call("test-distro", main))
