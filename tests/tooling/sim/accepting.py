"""
Whether the simulated Airflow can do what a real one has done: ``python -m tests.tooling.sim.accepting [FILE ...]``.

A trace is accepted if each of its steps is a step of some schedule of a task of the same family: the same event, in
the same situation. Schedules are played until all steps are found, or there were enough of them; then the traces with
a step that was never found are refused, with that step. The exit code is 0 only if all traces are accepted.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .observed import families, observe
from .search import mixed, singles
from .traces import Step, Trace, read_traces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .world import Plan

__all__ = ["Model", "Refusal"]

RECORDED = Path(__file__).parent / "recordings"
SCHEDULES = 20_000


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


class Model:
    """What the simulated Airflow has been seen to do, by family, each step with a schedule that shows it."""

    def __init__(self) -> None:
        self.witnesses: dict[str, dict[Step, Plan]] = defaultdict(dict)
        self.played = 0

    def learn(self, plans: Iterable[Plan], traces: list[Trace], limit: int) -> None:
        """Play plans until every step of the traces was seen, but at most so many."""
        of = families()
        wanted: dict[str, set[Step]] = defaultdict(set)
        for trace in traces:
            if trace.family in of.values():
                wanted[trace.family] |= set(trace.steps()) - self.witnesses[trace.family].keys()
        for plan in plans:
            if self.played >= limit or not any(wanted.values()):
                return
            if not wanted.get(of.get(plan.form, "")):
                continue
            _, trace = observe(plan)
            self.played += 1
            known = self.witnesses[trace.family]
            for step in trace.steps():
                known.setdefault(step, plan)
            wanted[trace.family] -= known.keys()

    def refusal(self, trace: Trace) -> Refusal | None:
        """Return why a trace is refused, if it is."""
        known = self.witnesses.get(trace.family)
        if known is None:
            return Refusal(trace, [])
        missing = [(number, step) for number, step in enumerate(trace.steps(), 1) if step not in known]
        return Refusal(trace, missing) if missing else None


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
    options = parser.parse_args()
    traces = [
        trace for file in options.files or sorted(RECORDED.glob("*.jsonl")) for trace in read_traces(file)
    ]
    began, model = time.perf_counter(), Model()
    model.learn(plans(options.seed), traces, options.schedules)
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
