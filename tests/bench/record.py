#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Measures what exits cost and writes tests/bench/baseline.toml, against which `make test-bench` compares.

On purpose only: after a change that makes them cheaper, or one that is worth what it costs (say so in
the commit). Build first: make image machine; make bench-guest.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import measure

HEAD = """\
# SPDX-License-Identifier: BSD-2-Clause-Patent
# What exits cost, in instructions: the least of each figure. Written by tests/bench/record.py.
machine = "{machine}"
compiler = "{compiler}"
"""


def machine_words() -> str:
    """The SEV machine's command line as far as it decides about figures."""
    words = measure.machines.sev_machine.argv(qemu="qemu", psp=False, icount=True, memory=measure.machines.MEMORY)
    return " ".join(words[words.index("-M") :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path(os.environ.get("BUILD", ".build")),
                        help="where the product was built (%(default)s)")  # fmt: skip
    build = parser.parse_args().build.resolve()
    text = HEAD.format(machine=machine_words(), compiler=measure.compiler())
    columns = {}
    for name, (encryption, without) in measure.SEVISOR.items():
        with tempfile.TemporaryDirectory(prefix="sevisor-bench-") as folder:
            columns[name] = measure.sevisor(build, Path(folder), encryption, without=without).figures
        text += f"\n[{name}]\n" + "".join(f"{key} = {figure.least}\n" for key, figure in columns[name].items())
    measure.BASELINE.write_text(text)
    print(measure.table(columns))


if __name__ == "__main__":
    main()
