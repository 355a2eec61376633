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
    :param exceptions: the named exceptions that had an effect.
    """

    plan: Plan
    violations: list[str]
    exceptions: set[str]
    points: int
    trace: list[tuple[float, str, str]]
    world: World

    def __str__(self) -> str:
        lines = [f"{self.plan}", *(f"  VIOLATION: {one}" for one in self.violations)]
        return "\n".join([*lines, *(f"  {at:9.3f}  {actor:13} {what}" for at, actor, what in self.trace)])


def play(plan: Plan) -> Played:
    """Simulate what a plan says."""
    kernel = Kernel(plan.seed)
    with cut(kernel, plan.seed) as here:
        here.world = world = World(kernel, FORMS[plan.form], plan)
        violations = world.play()
    return Played(plan, violations, world.judge.exceptions, world.points, kernel.trace, world)
