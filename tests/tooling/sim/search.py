"""
Which schedules are played: every fault at every hand-over, pairs of faults, then at random.

Each fault is within what the task bears, so that it must succeed with one operation unless somebody ends it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .faults import FAULTS, USERS
from .forms import FORMS
from .schedule import play
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pairs", "singles"]


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


def pairs(seed: int) -> Iterator[Plan]:
    """Yield two or three faults near each other at random, for ever; at most one of them is a user's act."""
    draw = random.Random(seed)
    others = sorted(set(FAULTS) - set(USERS))
    while True:
        form, of = draw.choice(list(FORMS)), draw.randrange(1 << 30)
        first = draw.randint(1, 90)
        kinds = [draw.choice([*FAULTS]), *draw.choices(others, k=draw.randint(1, 2))]
        draw.shuffle(kinds)
        where = sorted(first + draw.randint(0, 30) for _ in kinds)
        yield Plan(form, of, tuple(zip(where, kinds, strict=True)))
