"""
Search for schedules that break a promise: ``python -m tests.tooling.sim.run [--schedules N] [--seed S] [--short]``.

First every fault at every hand-over, SIGTERM at every line and pairs of faults, then several at random, on all cores.
The exit code is 0 only if nothing was broken; ``--plan`` plays again what a violation has printed, and shows all that
happened.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import logging
import math
import multiprocessing
import os
import random
import re
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from .coverage import Coverage
from .faults import FAULTS
from .forms import FORMS
from .schedule import play
from .search import Batch, batches, seen_of, shrunk
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEDULES = 600_000
SHORT_SCHEDULES = 5_000
EVERY = {"single": 1, "line": 1, "pair": 1}
SHORT_EVERY = {"single": 2, "line": 8, "pair": 40}
SHORT_MINUTES = 3.75
"""What the search may take in short form."""

COLLECT_EVERY = 250
SHOWN = 5
STUCK_S = 120
"""A process that plays one schedule for so long shows where it is, and ends the search."""


@dataclass
class Found:
    """
    What a search has found.

    :param broken: the plans that broke a promise, and which.
    :param shown: traces of some of them, without the faults that it doesn't take.
    :param cut_short: how many batches weren't played to their end, as the time was up.
    :param exceptions: the named exceptions that had an effect, how often.
    """

    played: int = 0
    cut_short: int = 0
    cpu_s: float = 0.0
    shown: list[str] = field(default_factory=list)
    broken: list[tuple[Plan, list[str]]] = field(default_factory=list)
    exceptions: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)

    def merge(self, other: Found) -> None:
        """Take what another process has found."""
        self.played += other.played
        self.cut_short += other.cut_short
        self.cpu_s += other.cpu_s
        self.broken += other.broken
        self.exceptions.update(other.exceptions)
        self.coverage.merge(other.coverage)


def _not_stuck() -> None:
    """Let a process of the search have more time."""
    if multiprocessing.parent_process() is not None:
        faulthandler.dump_traceback_later(STUCK_S, exit=True, file=sys.__stderr__ or 2)


def explore(batch: Batch, until_s: float = math.inf) -> Found:
    """
    Play the plans of a batch.

    :param until_s: by ``time.monotonic``; what isn't played by then is left out.
    """
    found = Found()
    if time.monotonic() > until_s:
        found.cut_short = 1
        return found
    began_s = time.process_time()
    _not_stuck()
    for plan in batch.plans():
        seen = seen_of(plan)
        found.played += 1
        found.exceptions.update(seen.exceptions)
        found.coverage.add(seen)
        if seen.violations:
            found.broken.append((plan, seen.violations))
            if not found.shown:
                found.shown.append(str(play(shrunk(plan))))
        if found.played % COLLECT_EVERY == 0:
            del seen
            gc.collect()
        if time.monotonic() > until_s:
            break
        _not_stuck()
    if multiprocessing.parent_process() is not None:
        faulthandler.cancel_dump_traceback_later()
    found.cut_short = int(time.monotonic() > until_s)
    seen_of.cache_clear()
    gc.collect()
    gc.freeze()  # the little that stays needn't be looked through again and again
    found.cpu_s = time.process_time() - began_s
    return found


def search(todo: Iterable[Batch], jobs: int, minutes: float = math.inf) -> Found:
    """
    Play batches on so many processes; print what was broken as it comes.

    :raises BrokenProcessPool: a process has ended; if it was stuck, it has shown where.
    """
    began_s, total = time.monotonic(), Found()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        played = partial(explore, until_s=began_s + minutes * 60)
        for done in as_completed([pool.submit(played, batch) for batch in todo]):
            found = done.result()
            for shown in found.shown if len(total.broken) < SHOWN else ():
                print(shown)
            for plan, violations in found.broken:
                print(f"{plan}: {'; '.join(violations)}", flush=True)
            total.merge(found)
    spent_s = time.monotonic() - began_s
    if total.cut_short:
        print(
            f"the time was up after {minutes:g} min: {total.cut_short} batches weren't played, or not to their end"
        )
    print(
        f"{total.played} schedules in {spent_s:.0f} s, {total.played / spent_s:.0f} a second, "
        f"{1000 * total.cpu_s / max(total.played, 1):.1f} ms of CPU each; violations: {len(total.broken)}"
    )
    return total


def warm_up() -> None:
    """Import and make what is made late, before processes are forked; from then on garbage is for them to collect."""
    for form in FORMS:
        play(Plan(form, 0))
    gc.collect()
    logging.disable()  # once, as each change takes long
    gc.freeze()  # Airflow itself needn't be looked through again and again
    gc.disable()


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, help="so many at random")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--minutes", type=float, help="what is left by then isn't played, which is said")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="an expression for what is played: '^line synchronous'")
    parser.add_argument("--plan", help="as a violation has printed it")
    options = parser.parse_args()
    if options.plan:
        seen = play(eval(options.plan, {"Plan": Plan}))
        print(seen)
        return bool(seen.violations)
    count = options.schedules or (SHORT_SCHEDULES if options.short else SCHEDULES)
    print(f"seed {options.seed}", flush=True)
    warm_up()
    todo = batches(options.seed, every=SHORT_EVERY if options.short else EVERY, count=count)
    chosen = [one for one in todo if re.search(options.only, f"{one.what} {one.form} {one.fault}")]
    if not chosen:
        parser.error(f"nothing is called {options.only!r}")
    if options.short:  # so that there is something of all kinds in what the time allows
        random.Random(options.seed).shuffle(chosen)
    minutes = options.minutes or (SHORT_MINUTES if options.short else math.inf)
    total = search(chosen, options.jobs, minutes)
    for name, often in total.exceptions.most_common():
        print(f"  {often:8} excused: {name}")
    print(total.coverage.report(list(FAULTS)))
    return bool(total.broken)


if __name__ == "__main__":
    sys.exit(main())
