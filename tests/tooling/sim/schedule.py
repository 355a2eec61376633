"""Play one schedule, and show what happened in it."""

from __future__ import annotations

from dataclasses import dataclass

from .forms import FORMS
from .kernel import Kernel
from .seams import cut
from .world import Plan, World

__all__ = ["Played", "play"]


@dataclass(frozen=True)
class Played:
    """
    What came of a plan.

    :param points: how many hand-overs there were.
    :param events: which of them were changes of Airflow's database.
    :param lines: which lines of the package a worker has come to, if the plan asks for it.
    :param exceptions: the named exceptions that had an effect.
    """

    plan: Plan
    violations: list[str]
    exceptions: set[str]
    points: int
    events: list[int]
    lines: list[str]
    trace: list[tuple[float, str, str]]
    world: World

    def __str__(self) -> str:
        lines = [f"{self.plan}", *(f"  VIOLATION: {one}" for one in self.violations)]
        return "\n".join([*lines, *(f"  {at:9.3f}  {actor:13} {what}" for at, actor, what in self.trace)])


def play(plan: Plan) -> Played:
    """Simulate what a plan says."""
    kernel, form = Kernel(plan.seed), FORMS[plan.form]
    with cut(kernel, plan.seed, form.airflow) as here:
        here.world = world = World(kernel, form, plan)
        violations = world.play()
    lines = world.lines.places if world.lines is not None else []
    exceptions = world.judge.exceptions
    return Played(plan, violations, exceptions, world.points, world.events, lines, kernel.trace, world)
