"""
Which schedules are played: every fault at every hand-over, pairs of faults, then at random.

Each fault is within what the task bears, so that it must succeed with one operation unless somebody ends it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from .faults import FAULTS, USERS
from .forms import FORMS
from .schedule import play
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["mixed", "pairs", "retries", "shrunk", "singles", "takeovers"]


def _points(form: str, seed: int) -> int:
    """Return how many hand-overs a schedule without faults has."""
    return play(Plan(form, seed)).points


def singles(seed: int, every: int = 1) -> Iterator[Plan]:
    """
    Yield each fault at each hand-over of each form.

    :param every: only at every so many, to be quick.
    """
    for form in FORMS:
        for point in range(1 + seed % every, _points(form, seed) + 1, every):
            for fault in FAULTS:
                yield Plan(form, seed, ((point, fault),))


def shrunk(plan: Plan) -> Plan:
    """Return the plan without the faults that aren't needed to break a promise."""
    for left_out in range(len(plan.faults)):
        smaller = replace(plan, faults=plan.faults[:left_out] + plan.faults[left_out + 1 :])
        if play(smaller).violations:
            return shrunk(smaller)
    return plan


def pairs(seed: int) -> Iterator[Plan]:
    """Yield two or three faults at random for ever, half of them near each other; at most one is a user's act."""
    draw = random.Random(seed)
    others = sorted(set(FAULTS) - set(USERS))
    while True:
        form, of = draw.choice(list(FORMS)), draw.randrange(1 << 30)
        kinds = [draw.choice([*FAULTS]), *draw.choices(others, k=draw.randint(1, 2))]
        draw.shuffle(kinds)
        points = [draw.randint(1, 90)]
        for _ in kinds[1:]:
            points.append(points[-1] + draw.randint(0, draw.choice((4, 50))))
        yield Plan(form, of, tuple(zip(points, kinds, strict=True)))


def takeovers(seed: int) -> Iterator[Plan]:
    """
    Yield schedules for ever in which a triggerer stands still, another takes over, and something happens then.

    A triggerer that comes back cancels what it finds in nobody's hands; uniform chance hardly finds that moment.
    """
    draw = random.Random(seed)
    while True:
        form = draw.choice([name for name, form in FORMS.items() if form.deferrable])
        first = draw.randint(20, 45)
        second = first + draw.randint(1, 20)
        faults = [(first, "freeze triggerer"), (second, draw.choice([*FAULTS]))]
        if draw.random() < 0.3:
            faults.append((second + draw.randint(0, 20), draw.choice(sorted(set(FAULTS) - set(USERS)))))
        yield Plan(form, draw.randrange(1 << 30), tuple(faults))


def retries(seed: int) -> Iterator[Plan]:
    """Yield schedules for ever in which a worker is lost, and something happens when the next one begins."""
    draw = random.Random(seed)
    outages = [fault for fault in FAULTS if fault.startswith("API away")] * 3
    while True:
        first = draw.randint(10, 60)
        faults = (
            (first, draw.choice(("kill worker", "evict worker", "clear"))),
            (first + draw.randint(1, 30), draw.choice([*FAULTS, *outages])),
        )
        yield Plan(draw.choice(list(FORMS)), draw.randrange(1 << 30), faults)


def mixed(seed: int) -> Iterator[Plan]:
    """Yield of each kind in turn, for ever."""
    for each in zip(pairs(seed), takeovers(seed), retries(seed), strict=False):
        yield from each
