"""
Whether the search sees what it should: each mutant of the package must be found by it, without a hint.

Schedules of the package as it is are played first, for all mutants at once, to see which of them come to where a mutant
would do something else; plans that come to rare places are varied, as others of their kind may, too. Each mutant is
looked for with those, and with variations of them.

``python -m tests.tooling.sim.hunting [--only WORDS] [--missed] [--seed S] [--record]``; the exit code is 0 only if all
were found. Recorded, the rows of those that weren't hunted for stay as they are.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from .mutants import MUTANTS
from .mutation import probed
from .run import COLLECT_EVERY, warm_up
from .schedule import play
from .search import asked, lines, mixed, shrunk, singles, varied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .mutation import Mutant
    from .world import Plan

__all__ = ["Hunted", "gather", "hunt", "kept", "table"]

RESULTS = Path(__file__).parent / "MUTANTS.md"
LIMIT_S = 60.0
NOT_FOUND = "not found"
PAIRS_AT_ONCE = 4
"""So many pairs are played for each single fault: most means of the package are needed only after something else."""

GATHER_S = 120.0
"""So long, of each core's CPU, schedules are played for all mutants."""

VARIED_SHARE = 0.5
"""Of the schedules that are played for all mutants: variations of plans that came to a rare place."""

KEPT = 400
"""So many plans are kept for each mutant."""


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

    @property
    def row(self) -> str:
        """Return what came of it as a line of the table."""
        start = f"| {self.mutant.name} | {self.schedules} | {self.seconds:.1f} |"
        if self.plan is None:
            return f"{start} {NOT_FOUND} | |"
        faults = [what for _, what in self.plan.faults]
        faults += [f"{self.plan.line[1]} at a line"] if self.plan.line else []
        violation = self.violation.split("\n", 1)[0].replace("|", "\\|")[:100]
        return f"{start} {violation} | {', '.join(faults) or 'none'} ({self.plan.form}) |"

    def __str__(self) -> str:
        found = f"{self.violation}: {self.plan}" if self.plan else "NOT FOUND"
        return f"{self.mutant.name}: {self.schedules} schedules, {self.seconds:.1f} s: {found}"


def gather(seed: int, limit_s: float = GATHER_S, schedules: int = sys.maxsize) -> dict[str, list[Plan]]:
    """
    Return plans with which the package comes to where a mutant would do something else, by the mutant's name.

    :param limit_s: of CPU; or after so many schedules.
    """
    draw, began, reached = random.Random(seed), time.process_time(), set[str]()
    plans: dict[str, list[Plan]] = {}
    often = Counter[str]()
    usual = _plans(seed)
    with probed(MUTANTS, reached.add):
        for number in range(schedules):
            if often and draw.random() < VARIED_SHARE:
                names = sorted(often)
                (name,) = draw.choices(names, [1 / often[one] for one in names])
                plan = varied(draw.choice(plans[name]), draw)
            else:
                plan = next(usual)
            reached.clear()
            play(plan)
            often.update(reached)
            for name in reached:
                known = plans.setdefault(name, [])
                if len(known) < KEPT:
                    known.append(plan)
                elif (place := draw.randrange(often[name])) < KEPT:
                    known[place] = plan
            if number % COLLECT_EVERY == 0:
                gc.collect()
            if time.process_time() - began > limit_s:
                break
    return plans


def hunt(mutant: Mutant, seed: int, plans: Sequence[Plan] = (), limit_s: float = LIMIT_S) -> Hunted:
    """
    Play schedules until one breaks a promise that the package as it is keeps.

    :param plans: those that are known to come to its place.
    """
    began, played = time.process_time(), 0

    def spent_s() -> float:
        return time.process_time() - began

    for plan in _candidates(plans, seed):
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


def _candidates(plans: Sequence[Plan], seed: int) -> Iterator[Plan]:
    """Yield plans that come to a place, and variations of them, which may; without any, all that there are."""
    draw = random.Random(seed)
    yield from draw.sample(plans, len(plans))
    if not plans:
        yield from _plans(
            draw.randrange(1 << 30)
        )  # those of the seed itself have been gathered, and don't come there
    while True:
        yield varied(draw.choice(plans), draw)


def _plans(seed: int) -> Iterator[Plan]:
    """Yield single faults, some at lines of the source, and several of each kind, in turn; at last only the latter."""
    alone = list(singles(seed))
    random.Random(seed).shuffle(alone)
    several, at_lines, pairs = mixed(seed), lines(seed), asked(seed + 1)
    in_turn = ((one, next(several), next(at_lines), *islice(pairs, PAIRS_AT_ONCE)) for one in alone)
    return chain(chain.from_iterable(in_turn), several)


def table(
    found: list[Hunted],
    head: str,
    mutants: Sequence[Mutant] = (),
    before: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """
    Return what was found as Markdown.

    :param mutants: all there are, in their order; else only those that were hunted for.
    :param before: rows of others by the mutant's name, as ``kept`` returns them.
    """
    rows = {**before, **{one.mutant.name: one.row for one in found}}
    shown = [rows[one.name] for one in mutants or [one.mutant for one in found] if one.name in rows]
    missed = sum(f"| {NOT_FOUND} |" in row for row in shown)
    lines = [
        "# Results of `make sim MUTANTS=1`",
        "",
        head,
        "",
        f"Mutants: {len(shown)}; not found: {missed}. Seconds are of one core, up to the schedule that shows it.",
        "",
        "| the package with one means less | schedules | seconds | what is broken then | with these faults |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *shown]) + "\n"


def kept(text: str) -> dict[str, str]:
    """Return the rows of a table by the mutant's name."""
    return {row.split(" | ")[0].removeprefix("| "): row for row in text.splitlines()[8:]}


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words of the mutant's name")
    parser.add_argument(
        "--missed", action="store_true", help=f"only those that {RESULTS.name} hasn't as found"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for each")
    parser.add_argument("--gather", type=float, default=GATHER_S, help="seconds of each job for all of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    found = []
    before = kept(RESULTS.read_text()) if RESULTS.exists() else {}
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    if options.missed:
        chosen = [one for one in chosen if f"| {NOT_FOUND} |" in before.get(one.name, f"| {NOT_FOUND} |")]
    warm_up()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        plans: dict[str, list[Plan]] = {}
        gathered = pool.map(
            partial(gather, limit_s=options.gather), range(options.seed, options.seed + options.jobs)
        )
        for some in gathered:
            for name, those in some.items():
                plans.setdefault(name, []).extend(those)
        known = [plans.get(mutant.name, []) for mutant in chosen]
        for hunted in pool.map(hunt, chosen, repeat(options.seed), known, repeat(options.limit)):
            print(hunted, flush=True)
            found.append(hunted)
            if options.record:  # each at once, so that an end before the last one loses nothing
                limit = f"at most {options.limit:g} s of CPU each, after {options.gather:g} s on each core for all"
                head = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, seed {options.seed}, {limit}."
                RESULTS.write_text(table(found, head, MUTANTS, before))
    missed = sum(one.plan is None for one in found)
    print(f"{len(found)} mutants, {missed} not found")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
