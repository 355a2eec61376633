"""
Search for schedules that break a promise: ``python -m tests.tooling.sim.run [--schedules N] [--seed S] [--short]``.

First every fault at every hand-over, SIGTERM at every line and pairs of faults, then several at random, on all cores.
The exit code is 0 only if nothing was broken; ``--plan`` plays again what a violation has printed, and shows all that
happened.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .coverage import Coverage
from .faults import FAULTS
from .forms import FORMS
from .schedule import play
from .search import Batch, batches, shrunk
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEDULES = 600_000
SHORT_SCHEDULES = 5_000
EVERY = {"single": 1, "line": 1, "pair": 1}
SHORT_EVERY = {"single": 2, "line": 8, "pair": 40}
SHORT_MINUTES = 3.75
"""What the search may take in short form."""

COLLECT_EVERY = 50
SHOWN = 5


@dataclass
class Found:
    """
    What a search has found.

    :param broken: the plans that broke a promise, and which.
    :param exceptions: the named exceptions that had an effect, how often.
    """

    played: int = 0
    cpu_s: float = 0.0
    broken: list[tuple[Plan, list[str]]] = field(default_factory=list)
    exceptions: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)

    def merge(self, other: Found) -> None:
        """Take what another process has found."""
        self.played += other.played
        self.cpu_s += other.cpu_s
        self.broken += other.broken
        self.exceptions.update(other.exceptions)
        self.coverage.merge(other.coverage)


def explore(batch: Batch) -> Found:
    """Play the plans of a batch."""
    found = Found()
    began_s = time.process_time()
    for plan in batch.plans():
        seen = play(plan)
        found.played += 1
        found.exceptions.update(seen.exceptions)
        found.coverage.add(seen)
        if seen.violations:
            found.broken.append((plan, seen.violations))
        if found.played % COLLECT_EVERY == 0:
            del seen
            gc.collect()
    gc.collect()
    found.cpu_s = time.process_time() - began_s
    return found


def search(todo: Iterable[Batch], jobs: int, minutes: float | None = None) -> Found:
    """Play batches on so many processes; print what was broken as it comes."""
    began_s, total = time.monotonic(), Found()
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for found in pool.imap_unordered(explore, todo):
            for plan, violations in found.broken:
                if len(total.broken) < SHOWN:
                    print(play(shrunk(plan)))
                print(f"{plan}: {'; '.join(violations)}", flush=True)
            total.merge(found)
            if minutes is not None and time.monotonic() - began_s > minutes * 60:
                print(f"the time is up after {minutes:g} min: not all was played")
                break
        pool.terminate()
    spent_s = time.monotonic() - began_s
    print(
        f"{total.played} schedules in {spent_s:.0f} s, {total.played / spent_s:.0f} a second, "
        f"{1000 * total.cpu_s / max(total.played, 1):.1f} ms of CPU each; violations: {len(total.broken)}"
    )
    return total


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, help="so many at random")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--minutes", type=float, help="what is left by then isn't played, which is said")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="words of what is played, such as 'line synchronous'")
    parser.add_argument("--plan", help="as a violation has printed it")
    options = parser.parse_args()
    if options.plan:
        seen = play(eval(options.plan, {"Plan": Plan}))
        print(seen)
        return bool(seen.violations)
    count = options.schedules or (SHORT_SCHEDULES if options.short else SCHEDULES)
    print(f"seed {options.seed}", flush=True)
    for form in FORMS:  # what is imported and made late
        play(Plan(form, 0))
    gc.collect()
    gc.freeze()  # Airflow itself needn't be looked through again and again
    gc.disable()  # ``explore`` does it, at its own pace
    todo = batches(options.seed, every=SHORT_EVERY if options.short else EVERY, count=count)
    chosen = (one for one in todo if options.only in f"{one.what} {one.form} {one.fault}")
    minutes = options.minutes or (SHORT_MINUTES if options.short else None)
    total = search(chosen, options.jobs, minutes)
    for name, often in total.exceptions.most_common():
        print(f"  {often:8} excused: {name}")
    print(total.coverage.report(list(FAULTS)))
    return bool(total.broken)


if __name__ == "__main__":
    sys.exit(main())
