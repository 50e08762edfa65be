# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The commands of sevisorctl that move guests: snapshot, restore, migrate."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from owner import chain
from owner.certificate import Usage, decode
from pack import cli, files
from pack.errors import PackError

from . import moves, output, stream
from .connection import Connection
from .ends import Source, Target
from .errors import DONE, Refused
from .link import Link
from .moves import Limits, Migration, Report, Restore, Snapshot, Watch

PIPE = Path("-")


class _Shown(Watch):
    """On standard error."""

    def __init__(self, args: argparse.Namespace) -> None:
        bar: list[output.Progress] = []

        def begin(what: str, total: int) -> None:
            bar[:] = [output.Progress(f"{args.name}: {what}:", total, args.json)]

        super().__init__(
            lambda words: cli.warn(f"sevisorctl.py: {words}"),
            begin,
            lambda done: bar[0].at(done) if bar else None,
            lambda: bar.pop().close() if bar else None,
        )


def _link(sevisor: Connection, args: argparse.Namespace) -> Link:
    return Link(lambda: Connection.open(args.to, args.timeout), sevisor)


def _limits(args: argparse.Namespace) -> Limits:
    given = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(Limits)}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _with_amds(found: chain.Chain, args: argparse.Namespace, where: str) -> chain.Chain:
    """With what AMD's server has, checked up to a root."""
    if args.cek:
        found = chain.with_cek(found, files.read(args.cek, 1 << 20))
    if args.ca:
        ask, ark = chain.read_amd(files.read(args.ca, 1 << 20))
        found = dataclasses.replace(found, ask=ask, ark=ark)
    root = chain.read_root(files.read(args.root, 1 << 20)) if args.root else None
    try:
        chain.trusted(found, root, args.root)
    except PackError as error:
        raise Refused(f"{where}: {error}") from None
    return found


def _for(sevisor: Connection, args: argparse.Namespace) -> chain.Chain:
    """The platform that a snapshot is for: this one, unless a file says another."""
    own = chain.read(sevisor.pdh() + sevisor.chain())
    if not args.chain:
        return _with_amds(own, args, "this platform's certificates")
    found = _with_amds(chain.read(files.read(args.chain, 1 << 20)), args, str(args.chain))
    same_chip = decode(found.cek, Usage.CEK).public_numbers() == decode(own.cek, Usage.CEK).public_numbers()
    if same_chip and found.pdh != own.pdh:
        raise Refused(
            f"{args.chain}: is of this platform, but its PDH is gone: it was made anew since (pdh-gen, pek-gen, reset, a new "
            "start), and nobody could open the snapshot; `platform export` writes the present one"
        )
    return found


def _tell(args: argparse.Namespace, words: str, report: Report, **more: object) -> int:
    for warning in report.warnings:
        cli.warn(f"sevisorctl.py: warning: {warning}")
    if args.command == "snapshot" and args.file == PIPE:
        cli.warn(f"sevisorctl.py: {words}: {report.words()}")
    elif args.json:
        output.as_json({**report.json(), **more})
    else:
        cli.say(f"{words}: {report.words()}")
    return DONE


def _tell_estimate(args: argparse.Namespace, found: moves.Estimate) -> bool:
    """Whether that was all that was wanted."""
    if args.estimate:
        output.as_json(dataclasses.asdict(found)) if args.json else cli.say(f"guest {args.name}: {found.words()}")
    elif not args.json:
        cli.warn(f"guest {args.name}: {found.words()}")
    return args.estimate


def snapshot(sevisor: Connection, args: argparse.Namespace) -> int:
    work = Snapshot(Source(_link(sevisor, args), args.name), _Shown(args), _limits(args))
    to = _for(sevisor, args)
    work.check(to, None)
    if _tell_estimate(args, work.estimate(1)):
        return DONE
    if args.file == PIPE:
        try:
            report = work.run(to, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except OSError as error:
            cli.close_output()
            raise PackError(f"standard output: {error.strerror}: the snapshot is not whole") from None
    else:
        with files.replacing(args.file) as result, open(result.temporary, "wb") as sink:
            report = work.run(to, sink)
    return _tell(args, f"{args.file}: guest {args.name}", report, file=str(args.file))


class _Kept:
    """A pipe whose bytes are kept as they are read."""

    def __init__(self, source: IO[bytes], kept: IO[bytes]) -> None:
        self._source, self._kept = source, kept

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._kept.write(data)
        return data


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that can be read twice; of a pipe, a copy that goes away, which ends where the stream makes no sense."""
    with open(path, "rb") if path != PIPE else sys.stdin.buffer as source:
        if source.seekable():
            yield source
            return
        with tempfile.TemporaryFile() as kept:
            stream.verify(_Kept(source, kept))
            kept.seek(0)
            yield kept


def restore(sevisor: Connection, args: argparse.Namespace) -> int:
    work = Restore(Target(_link(sevisor, args), args.name), _Shown(args), _limits(args))
    with _whole(args.file) as file:
        checked = work.check(file)
        report = work.run(file, checked)
    return _tell(args, f"guest {args.name}: runs as it was saved", report, source=checked[0].name)


def migrate(sevisor: Connection, args: argparse.Namespace) -> int:
    there = args.there or args.name
    target_link = Link(lambda: Connection.open(args.target, args.timeout))
    source, target = Source(_link(sevisor, args), args.name), Target(target_link, there)
    shown, limits = _Shown(args), _limits(args)
    try:
        if args.settle:
            words = moves.settle(source, target, shown, limits)
            output.as_json({"guest": args.name, "settled": words}) if args.json else cli.say(words)
            return DONE
        work = Migration(source, target, shown, limits, not args.paused)
        to = _with_amds(chain.read(target.platform()), args, f"{args.target}: the target's certificates")
        work.check_both(to)
        if _tell_estimate(args, work.estimate(2)):
            return DONE
        report = work.run(to)
    finally:
        target_link.drop()
    return _tell(args, f"guest {args.name}: runs at {args.target}", report, target=str(args.target), name=there)
