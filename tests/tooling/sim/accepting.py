"""
Whether the simulated Airflow can do what a real one has done: ``python -m tests.tooling.sim.accepting [FILE ...]``.

A trace is accepted if each of its steps is a step of some schedule of a task of the same family: the same event, in
the same situation. Schedules are played until all steps are found, or there were enough of them; then the traces with
a step that was never found are refused, with that step. The exit code is 0 only if all traces are accepted.

Most schedules are variations of one that has come into the situation of a step which is looked for: another seed, one
more fault about then, or a fault moved there.

What has shown a step is played first the next time: ``--record`` notes these plans.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .coverage import points_between
from .faults import FAULTS, USERS
from .observed import families, observe
from .search import mixed, singles
from .traces import Step, Trace, read_traces
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Model", "Refusal"]

RECORDED = Path(__file__).parent / "recordings"
WITNESSES = RECORDED / "witnesses.txt"
"""Plans that have shown the steps of these traces; no more than a hint, as the numbers of hand-overs change."""

SCHEDULES = 20_000

VARIED = 9
"""So many variations are played for each plan that isn't one."""

AT_MOST = 3
"""A variation adds no fault where there are so many."""

ANOTHER_SEED, MORE_FAULTS = 0.4, 0.8
"""Of the variations: up to which share they have another seed, and up to which a fault more."""

KEPT = 20
"""So many plans are varied for each step that is looked for, those that were seen last."""


class Refusal(NamedTuple):
    """
    Why a trace is refused.

    :param steps: those that no schedule has, with their places in the trace; none: the family isn't simulated.
    """

    trace: Trace
    steps: list[tuple[int, Step]]

    def __str__(self) -> str:
        if not self.steps:
            return f"{self.trace.name}: no form of the simulation is of the family {self.trace.family!r}"
        steps = "\n".join(f"  step {number}: {step}" for number, step in self.steps)
        return f"{self.trace.name} ({self.trace.family}):\n{steps}"


class Near(NamedTuple):
    """
    A plan that comes into the situation of a step, in which then something else happens.

    :param points: the hand-overs that there were in that situation, and the next one.
    """

    plan: Plan
    points: range

    def varied(self, draw: random.Random) -> Plan:
        """Return the plan with another seed, or with a fault moved or added to that situation, often a user's act."""
        how, faults = draw.random(), list(self.plan.faults)
        if how < ANOTHER_SEED:
            return replace(self.plan, seed=draw.randrange(1 << 30))
        if faults and (how > MORE_FAULTS or len(faults) >= AT_MOST):
            _, what = faults.pop(draw.randrange(len(faults)))
        else:
            what = draw.choice([*FAULTS] if draw.random() < 0.5 else [*USERS])
        return replace(self.plan, faults=tuple(sorted((*faults, (draw.choice(self.points), what)))))


class Model:
    """What the simulated Airflow has been seen to do, by family, each step with a schedule that shows it."""

    def __init__(self) -> None:
        self.witnesses: dict[str, dict[Step, Plan]] = defaultdict(dict)
        self.played = 0
        self._wanted: dict[str, set[Step]] = defaultdict(set)
        """By family, the steps that no schedule has shown yet."""
        self._near: dict[Step, list[Near]] = defaultdict(list)

    def want(self, traces: Iterable[Trace]) -> None:
        """Look for the steps of traces, as far as they aren't known."""
        simulated = set(families().values())
        for trace in traces:
            if trace.family in simulated:
                self._wanted[trace.family] |= set(trace.steps()) - self.witnesses[trace.family].keys()

    def replay(self, plans: Iterable[Plan]) -> None:
        """Play plans that may show what is looked for."""
        of = families()
        for plan in plans:
            if self._wanted[of[plan.form]]:
                self._play(plan)

    def learn(self, plans: Iterable[Plan], limit: int, seed: int = 1) -> None:
        """
        Play plans, and variations of them, until every step that is looked for was seen, but at most so many.

        A plan of another family than those that are looked for is played with a form of such a one.
        """
        forms = defaultdict(list)
        for form, family in families().items():
            forms[family].append(form)
        draw = random.Random(seed)
        for plan in plans:
            useful = [form for family, steps in self._wanted.items() if steps for form in forms[family]]
            if not useful:
                return
            fit = plan if plan.form in useful else replace(plan, form=draw.choice(useful))
            for each in chain((fit,), self._variations(draw)):
                if self.played >= limit or not any(self._wanted.values()):
                    return
                self._play(each)

    def _variations(self, draw: random.Random) -> Iterator[Plan]:
        for _ in range(VARIED):
            steps = sorted(
                (step for each in self._wanted.values() for step in each & self._near.keys()), key=str
            )
            if steps:
                yield draw.choice(self._near[draw.choice(steps)]).varied(draw)

    def _play(self, plan: Plan) -> None:
        seen, trace = observe(plan)
        self.played += 1
        known = self.witnesses[trace.family]
        for step in trace.steps():
            known.setdefault(step, plan)
        wanted = self._wanted[trace.family]
        wanted.difference_update(known)
        situations = {step.before for step in wanted}
        for before, since_s, until_s in trace.situations():
            if before in situations:
                near = Near(plan, points_between(seen, since_s, until_s))
                for step in wanted:
                    if step.before == before:
                        self._near[step] = [*self._near[step], near][-KEPT:]

    def refusal(self, trace: Trace) -> Refusal | None:
        """Return why a trace is refused, if it is."""
        known = self.witnesses.get(trace.family)
        if known is None:
            return Refusal(trace, [])
        missing = [(number, step) for number, step in enumerate(trace.steps(), 1) if step not in known]
        return Refusal(trace, missing) if missing else None

    def witnesses_of(self, traces: list[Trace]) -> list[Plan]:
        """Return some plans that show all that is known of the traces' steps."""
        steps = {(trace.family, step) for trace in traces for step in trace.steps()}
        found = {self.witnesses[family][step] for family, step in steps if step in self.witnesses[family]}
        return sorted(found, key=str)


def read_plans(path: Path) -> list[Plan]:
    """Return the plans of a file, one to a line; what names a form or a fault that is no more is left out."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [
        Plan(form, seed, tuple((int(point), str(fault)) for point, fault in faults))
        for form, seed, faults in rows
        if form in families() and all(fault in FAULTS for _, fault in faults)
    ]


def write_plans(path: Path, plans: Iterable[Plan]) -> None:
    """Write them, one to a line."""
    path.write_text("".join(f"{json.dumps([one.form, one.seed, one.faults])}\n" for one in plans))


def plans(seed: int) -> Iterator[Plan]:
    """Yield what there is to play: single faults in a random order, and several at random, in turn."""
    alone = list(singles(seed))
    random.Random(seed).shuffle(alone)
    several = mixed(seed)
    return chain(chain.from_iterable((one, next(several)) for one in alone), several)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, help=f"recorded traces; without: those of {RECORDED.name}/"
    )
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="at most so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="note the plans that show the steps")
    options = parser.parse_args()
    traces = [
        trace for file in options.files or sorted(RECORDED.glob("*.jsonl")) for trace in read_traces(file)
    ]
    began, model = time.perf_counter(), Model()
    model.want(traces)
    model.replay(read_plans(WITNESSES))
    model.learn(plans(options.seed), options.schedules, options.seed)
    if options.record:
        write_plans(WITNESSES, model.witnesses_of(traces))
    refusals = [refusal for trace in traces if (refusal := model.refusal(trace))]
    for refusal in refusals:
        print(refusal)
    steps = {(trace.family, step) for trace in traces for step in trace.steps()}
    print(
        f"{len(traces)} traces with {len(steps)} different steps: {len(traces) - len(refusals)} accepted, "
        f"{len(refusals)} refused; {model.played} schedules in {time.perf_counter() - began:.0f} s"
    )
    return bool(refusals)


if __name__ == "__main__":
    sys.exit(main())
