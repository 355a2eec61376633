"""Plans whose faults are at moments that a text describes, as the numbers of hand-overs change with the code."""

from __future__ import annotations

import re
from dataclasses import replace

from .schedule import play
from .world import Plan

__all__ = ["plan_at"]


def plan_at(form: str, seed: int, *moments: tuple[str, str] | tuple[str, str, int]) -> Plan:
    """
    Return a plan with a fault at each of some moments, each of which comes after the one before.

    :param moments: of a hand-over, a regular expression for its actor and what happens; the fault; and how many such
        hand-overs are left out, of those that come of the faults before.
    :raises LookupError: there is no such hand-over.
    """
    plan = Plan(form, seed)
    for what, fault, *left_out in moments:
        after = plan.faults[-1][0] if plan.faults else 0
        trace = play(plan).trace
        said = [text for _, actor, text in trace if text.endswith("]") and re.search(what, f"{actor} {text}")]
        points = [point for text in said if (point := int(text.rpartition("[")[2][:-1])) > after]
        skipped = sum(left_out)
        if skipped >= len(points):
            raise LookupError(f"{plan} has no {what!r} after {after}, or too few")
        plan = replace(plan, faults=(*plan.faults, (points[skipped], fault)))
    return plan
