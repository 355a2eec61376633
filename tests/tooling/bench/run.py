"""
Run the bench: ``python -m tests.tooling.bench.run [--short] [--only NAME]``.

Targets that are missed are shown and don't fail it: times depend on the machine. It fails where a figure could not
be measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.tooling.bench import report
from tests.tooling.bench.bench import Bench, NotMeasured, Row
from tests.tooling.bench.figures import FIGURES, IN_BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET = ("cpu", "start", "imports", "parse")
"""Measured with nothing of ours beside them."""

LONG = ("triggerer", "tasks", "crowds")
"""Take minutes however few tasks they have, so a short run leaves them out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer operations, shorter looks; not written")
    parser.add_argument("--only", action="append", choices=FIGURES, help="this figure; not written")
    parser.add_argument(
        "--no-profile", action="store_true", help="don't look where what missed its target goes"
    )
    parser.add_argument(
        "--record", action="store_true", help=f"write {report.RESULTS.name} all the same; other lines stay"
    )
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleaned up
    about = report.machine()
    usual = [name for name in FIGURES if not (arguments.short and name in LONG)]
    wanted = [name for name in FIGURES if name in (arguments.only or usual)]
    with Bench(short=arguments.short, profile=not arguments.no_profile) as bench:
        found = _measure(bench, wanted)
    rows = [row for name in wanted for row in found[name]]
    report.show(rows)
    for row in rows:
        if row.profile:
            print(f"\n{row.figure}\n" + "\n".join(row.profile))
    if arguments.record or not (arguments.short or arguments.only):
        report.write(found, about)
    return 1 if any(row.why for row in rows) else 0


def _measure(bench: Bench, wanted: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with ThreadPoolExecutor(2) as pool:
        for name in (one for one in wanted if one in QUIET):
            found[name] = _figure(bench, name)
        later: dict[str, Future[list[Row]]] = {
            name: pool.submit(_figure, bench, name) for name in wanted if name in IN_BACKGROUND
        }
        try:
            for name in (one for one in wanted if one not in (*QUIET, *IN_BACKGROUND)):
                found[name] = _figure(bench, name)
            found |= {name: future.result() for name, future in later.items()}
        except BaseException:
            bench.close()  # ends what runs in the background
            raise
    return found


def _figure(bench: Bench, name: str) -> list[Row]:
    bench.say(f"{name}: begins")
    title = (FIGURES[name].__doc__ or name).partition(".")[0]
    try:
        rows = FIGURES[name](bench)
    except NotMeasured as error:
        rows = [Row(title, "", why=str(error))]
    except Exception as error:  # noqa: BLE001  the other figures are worth having
        rows = [Row(title, "", why=f"{type(error).__name__}: {error}"[:500])]
    for row in rows:
        bench.say(f"{name}: {row.verdict} {row.ours or row.why}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
