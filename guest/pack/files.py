# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Reads files with a size limit, and writes them atomically.

An output that is there already keeps its kind: a symbolic link is followed, a device or a FIFO is written into. A regular
file is replaced atomically, keeps its permissions and, where that is allowed, its owner, and is left alone when it holds the
same bytes. A file that the command has read is no output of it, unless it is named as `replaces`.
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import PackError

LARGEST = 1 << 32  # bytes: no EFI file and no manifest can have more
_PREFIX = ".sevisor-"  # of temporary files; not the output's name, which may be as long as a name can be
_CHUNK = 1 << 20
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}  # signals that end a command, after cleanup
_inputs: set[tuple[int, int]] | None = None  # (device, inode) of what the command has read; None: no command runs


@contextmanager
def inputs_protected() -> Iterator[None]:
    """Inside, what was read is not overwritten."""
    global _inputs
    before, _inputs = _inputs, set()
    try:
        yield
    finally:
        _inputs = before


def note_input(status: os.stat_result) -> None:
    if _inputs is not None and stat.S_ISREG(status.st_mode):
        _inputs.add((status.st_dev, status.st_ino))


def words(error: OSError, path: Path | str | None = None) -> str:
    """An error of the operating system as a sentence with the file's name, if it has one."""
    name = path if path is not None else error.filename
    text = error.strerror or str(error)
    return f"{os.fsdecode(name) if isinstance(name, bytes) else name}: {text}" if name is not None else text


def read(path: Path, limit: int = LARGEST) -> bytes:
    """All bytes of a file, a pipe or a terminal. Other devices are refused, since they may have no end."""
    try:
        status = os.stat(path)
        kind = status.st_mode
        if stat.S_ISDIR(kind):
            raise PackError(f"{path}: this is a folder, not a file")
        if stat.S_ISBLK(kind) or stat.S_ISCHR(kind) and not _is_terminal(path):
            raise PackError(f"{path}: this is a device, not a file")
        if stat.S_ISREG(kind) and status.st_size > limit:
            raise PackError(f"{path}: the file has {status.st_size} bytes: more than {limit} bytes, which is too much")
        with open(path, "rb") as file:
            note_input(os.fstat(file.fileno()))
            data = bytearray()
            while len(data) <= limit and (chunk := file.read(_CHUNK)):
                data += chunk
    except OSError as error:
        raise PackError(words(error, path)) from None
    except ValueError:
        raise PackError(f"{str(path)!r} cannot be the name of a file") from None
    if len(data) > limit:
        raise PackError(f"{path}: the file has more than {limit} bytes, which is too much")
    return bytes(data)


def _is_terminal(path: Path) -> bool:
    with open(path, "rb", buffering=0) as file:
        return file.isatty()


def read_text(path: Path, limit: int) -> str:
    """A text file in UTF-8, with or without the byte order mark that some editors write."""
    data = read(path, limit)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise PackError(f"{path}: the text is UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PackError(f"{path}: line {line} is not UTF-8 text") from None


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocks the signals that end a command."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Output:
    """A file to be written: its temporary file and its place."""

    path: Path  # as given
    target: Path  # with symbolic links followed
    temporary: Path
    special: bool  # a device or a FIFO: written into, not replaced
    changed: bool = True  # False when a regular file had these bytes already


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _stage(path: Path, mode: int | None, cleanup: ExitStack, replaces: Path | None = None) -> Output:
    """A temporary file beside the output, with the permissions that the output will have. `mode`: None for the usual ones."""
    status = _status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise PackError(f"{path}: this is a folder: name a file in it")
    if status is not None and stat.S_ISSOCK(status.st_mode):
        raise PackError(f"{path}: this is a socket, which cannot be written")
    if status is not None and _inputs and (status.st_dev, status.st_ino) in _inputs:
        if replaces is None or not os.path.samefile(path, replaces):
            raise PackError(f"{path}: this is one of the files that were read: give the output another name")
    special = status is not None and not stat.S_ISREG(status.st_mode)
    target = Path(os.path.realpath(path))
    if status is not None and not special and not os.access(path, os.W_OK):
        raise PackError(f"{path}: the file is there, and you may not write it")
    with _signals_blocked():
        handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=None if special else target.parent)
        cleanup.callback(_remove, name)
    with os.fdopen(handle):
        if not special:
            os.fchmod(handle, mode if mode is not None else _usual_mode(status))
        if status is not None and not special:
            try:
                os.fchown(handle, status.st_uid, status.st_gid)
            except OSError:
                pass  # only root gives files away: the new file is the writer's
    return Output(path, target, Path(name), special)


def _usual_mode(status: os.stat_result | None) -> int:
    if status is not None:
        return stat.S_IMODE(status.st_mode) & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _remove(name: str | Path) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass


def _write_special(output: Output) -> None:
    """Writes the temporary file into a device or a FIFO. A disk must not be in use (O_EXCL), and must be large enough."""
    is_disk = stat.S_ISBLK(os.stat(output.path).st_mode)
    handle = os.open(output.path, os.O_WRONLY | (os.O_EXCL if is_disk else 0))
    with open(output.temporary, "rb") as source, os.fdopen(handle, "wb", buffering=0) as sink:
        needed = os.fstat(source.fileno()).st_size
        if is_disk and sink.seek(0, os.SEEK_END) < needed:
            raise PackError(f"{output.path}: the disk has {sink.tell()} bytes, and {needed} are needed")
        if is_disk:
            sink.seek(0)
        while chunk := source.read(_CHUNK):
            while chunk:
                chunk = chunk[sink.write(chunk) :]
        if is_disk:
            os.fsync(handle)


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with open(one, "rb") as a, open(other, "rb") as b:
        while chunk := a.read(_CHUNK):
            if chunk != b.read(_CHUNK):
                return False
    return True


@contextmanager
def replacing(path: Path, replaces: Path | None = None) -> Iterator[Output]:
    """Gives a `temporary` file to be filled; afterwards its bytes stand at `path`. After an exception `path` is as it was."""
    with ExitStack() as cleanup:
        try:
            output = _stage(path, None, cleanup, replaces)
        except OSError as error:
            raise PackError(words(error, path)) from None
        yield output
        try:
            if output.special:
                _write_special(output)
            elif _same_bytes(output.temporary, output.target):
                output.changed = False
            else:
                os.replace(output.temporary, output.target)
        except OSError as error:
            raise PackError(words(error, path)) from None


def write(path: Path, data: bytes, replaces: Path | None = None) -> bool:
    """Whole or not at all. False when a regular file had these bytes already."""
    with replacing(path, replaces) as output:
        try:
            output.temporary.write_bytes(data)
        except OSError as error:
            raise PackError(words(error, path)) from None
    return output.changed


def write_set(files: Mapping[Path, tuple[bytes, int | None]], overwrite: bool, replaces: Path | None = None) -> None:
    """Several files (bytes, permissions) that belong together: all of them, or none and what was there before.

    Without `overwrite` none of them may exist.
    """
    taken = [str(path) for path in files if os.path.lexists(path)]
    if taken and not overwrite:
        raise PackError(f"{', '.join(taken)} exists already; --force overwrites")
    with ExitStack() as cleanup:
        path = Path()
        try:
            outputs = []
            for path, (data, mode) in files.items():
                outputs.append(_stage(path, mode, cleanup, replaces))
                outputs[-1].temporary.write_bytes(data)
            _check_apart(outputs)
            for output in outputs:
                path = output.path
                if output.special:
                    _write_special(output)
            with _signals_blocked(), ExitStack() as undo:
                for output in outputs:
                    path = output.path
                    if not output.special:
                        _swap(output, undo, cleanup)
                undo.pop_all()
        except OSError as error:
            raise PackError(words(error, path)) from None


def _check_apart(outputs: Sequence[Output]) -> None:
    """Two outputs must not be links to the same file."""
    for number, output in enumerate(outputs):
        for other in outputs[:number]:
            if output.target == other.target:
                raise PackError(
                    f"{other.path} and {output.path} are links to the same file, {output.target}: delete them"
                )


def _swap(output: Output, undo: ExitStack, cleanup: ExitStack) -> None:
    """Moves a file to its place; `undo` restores the old one."""
    if output.target.exists():
        handle, kept = tempfile.mkstemp(prefix=_PREFIX, dir=output.target.parent)
        os.close(handle)
        cleanup.callback(_remove, kept)
        os.replace(output.target, kept)
        undo.callback(os.replace, kept, output.target)
    else:
        undo.callback(_remove, output.target)
    os.replace(output.temporary, output.target)
