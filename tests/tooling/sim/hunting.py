"""
Whether the search sees what it should: each mutant of the package must be found by it, without a hint.

``python -m tests.tooling.sim.hunting [--only WORDS] [--seed S] [--record]``; the exit code is 0 only if all were found.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from .mutants import MUTANTS
from .run import COLLECT_EVERY, warm_up
from .schedule import play
from .search import lines, mixed, shrunk, singles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .mutation import Mutant
    from .world import Plan

__all__ = ["Hunted", "hunt", "table"]

RESULTS = Path(__file__).parent / "MUTANTS.md"
LIMIT_S = 60.0


@dataclass(frozen=True)
class Hunted:
    """
    What came of the search for a mutant.

    :param plan: the shortest that breaks a promise with it, and none without it; ``None``: it wasn't found.
    """

    mutant: Mutant
    plan: Plan | None
    violation: str
    schedules: int
    seconds: float

    def __str__(self) -> str:
        found = f"{self.violation}: {self.plan}" if self.plan else "NOT FOUND"
        return f"{self.mutant.name}: {self.schedules} schedules, {self.seconds:.1f} s: {found}"


def hunt(mutant: Mutant, seed: int, limit_s: float = LIMIT_S) -> Hunted:
    """Play schedules until one breaks a promise that the package as it is keeps."""
    began, played = time.process_time(), 0

    def spent_s() -> float:
        return time.process_time() - began

    for plan in _plans(seed):
        with mutant.applied():
            broken = play(plan).violations
        played += 1
        if played % COLLECT_EVERY == 0:
            gc.collect()
        if broken and not play(plan).violations:
            found_s = spent_s()
            with mutant.applied():
                smaller = shrunk(plan)
                return Hunted(mutant, smaller, play(smaller).violations[0], played, found_s)
        if spent_s() > limit_s:
            break
    return Hunted(mutant, None, "", played, spent_s())


def _plans(seed: int) -> Iterator[Plan]:
    """Yield single faults, some at lines of the source, and several at random, in turn; at last only these."""
    alone = list(singles(seed))
    random.Random(seed).shuffle(alone)
    several, at_lines = mixed(seed), lines(seed)
    return chain(chain.from_iterable((one, next(several), next(at_lines)) for one in alone), several)


def table(found: list[Hunted], head: str) -> str:
    """Return what was found as Markdown."""
    missed = sum(one.plan is None for one in found)
    lines = [
        "# Results of `make sim MUTANTS=1`",
        "",
        head,
        "",
        f"Mutants: {len(found)}; not found: {missed}. Seconds are of one core, up to the schedule that shows it.",
        "",
        "| the package with one means less | schedules | seconds | what is broken then | with these faults |",
        "|---|---|---|---|---|",
    ]
    for one in found:
        if one.plan is None:
            lines.append(f"| {one.mutant.name} | {one.schedules} | {one.seconds:.1f} | not found | |")
            continue
        faults = [what for _, what in one.plan.faults]
        faults += [f"{one.plan.line[1]} at a line"] if one.plan.line else []
        violation = one.violation.split("\n", 1)[0].replace("|", "\\|")[:100]
        lines.append(
            f"| {one.mutant.name} | {one.schedules} | {one.seconds:.1f} | {violation} | {', '.join(faults) or 'none'} ({one.plan.form}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words of the mutant's name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    found = []
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    warm_up()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        for hunted in pool.map(partial(hunt, seed=options.seed, limit_s=options.limit), chosen):
            print(hunted, flush=True)
            found.append(hunted)
    missed = sum(one.plan is None for one in found)
    print(f"{len(found)} mutants, {missed} not found")
    if options.record:
        limit = f"at most {options.limit:g} s of CPU each"
        head = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, seed {options.seed}, {limit}."
        RESULTS.write_text(table(found, head))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
