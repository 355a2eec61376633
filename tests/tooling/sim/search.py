"""
Which schedules are played: every fault at every hand-over and SIGTERM at every line, pairs of faults at changes of
Airflow's database, then at random.

Each fault is within what the task bears, so that it must succeed with one operation unless somebody ends it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from .coverage import moments, points_by_kind
from .faults import FAULTS, USERS, concerning
from .forms import FORMS
from .schedule import Played, play
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Batch",
    "asked",
    "batches",
    "lines",
    "mixed",
    "pairs",
    "rare_moments",
    "retries",
    "shrunk",
    "singles",
    "takeovers",
    "varied",
]

RANDOM_BATCH = 250

RARE_AT_ONCE = 8
"""So many second faults are tried for each first one, whose schedule has to be played to know what comes of it."""

ALONE_AT_ONCE, FIRST_AT_ONCE, ASKED_AT_ONCE = 8, 3, 10
"""So many faults are tried alone in each schedule, so many as a first one, and so many second ones after each of them."""

NEW_SHARE = 0.7
"""Of those second faults: at moments that the schedule without a fault doesn't have."""

FAULTS_AT_MOST = 3
"""To vary a plan adds no more than so many."""

USERS_SHARE = 0.2
"""Of what is played at random, so much has two acts of users, such as a mark and then a clear."""

AT_LINES = ("evict worker", "mark failed", "clear")
"""What ends a worker by SIGTERM."""

seen_of = lru_cache(maxsize=8)(play)
"""What came of a plan: what is played to know which plans follow from it is yielded first, so that it is judged as well."""


@dataclass(frozen=True)
class Batch:
    """
    Plans that one process makes and plays; some follow from how others went.

    :param what: one of ``_MAKERS``.
    :param every: only so many of all, to be quick.
    """

    what: str
    form: str
    fault: str
    seed: int
    every: int = 1

    def plans(self) -> Iterator[Plan]:
        """Yield them."""
        return _MAKERS[self.what](self)


def batches(seed: int, *, every: Mapping[str, int], count: int) -> Iterator[Batch]:
    """
    Yield all that there is to play.

    :param every: for ``single``, ``line`` and ``pair``: one of so many.
    :param count: so many at random.
    """
    for what, faults in (("single", FAULTS), ("line", AT_LINES), ("pair", FAULTS)):
        for form in FORMS:
            for fault in faults:
                yield Batch(what, form, fault, seed, every[what])
    for number in range(-(-count // RANDOM_BATCH)):
        yield Batch("random", "", "", seed + 1_000_003 * number)


def _singles(batch: Batch) -> Iterator[Plan]:
    """Yield a fault at each hand-over; and once none, which shows what kinds of hand-overs there are."""
    if batch.fault == next(iter(FAULTS)):
        yield Plan(batch.form, batch.seed)
    points = seen_of(Plan(batch.form, batch.seed)).points
    for point in range(1 + batch.seed % batch.every, points + 1, batch.every):
        yield Plan(batch.form, batch.seed, ((point, batch.fault),))


def _lines(batch: Batch) -> Iterator[Plan]:
    """Yield a fault that ends the worker at each line of the package that it runs."""
    plan = Plan(batch.form, batch.seed, line=("", ""))
    play(plan)  # the first of a process also fills its caches, by lines that no later one comes to
    lines = play(plan).lines
    for where in lines[batch.seed % batch.every :: batch.every]:
        yield Plan(batch.form, batch.seed, line=(where, batch.fault))


def _pairs(batch: Batch) -> Iterator[Plan]:
    """Yield a fault at each change of Airflow's database, and another at each later one of what comes of it."""
    draw, share = random.Random(f"{batch}"), batch.every**-0.5
    for point in seen_of(Plan(batch.form, batch.seed)).events:
        if draw.random() > share:
            continue
        first = (point, batch.fault)
        yield Plan(batch.form, batch.seed, (first,))
        for later in seen_of(Plan(batch.form, batch.seed, (first,))).events:
            for fault in FAULTS if later >= point else ():
                if draw.random() <= share:
                    yield Plan(batch.form, batch.seed, (first, (later, fault)))


def _at_random(batch: Batch) -> Iterator[Plan]:
    return islice(mixed(batch.seed), RANDOM_BATCH)


_MAKERS = {"single": _singles, "line": _lines, "pair": _pairs, "random": _at_random}


def singles(seed: int, every: int = 1) -> Iterator[Plan]:
    """
    Yield each fault at each hand-over of each form.

    :param every: only at every so many, to be quick.
    """
    for form in FORMS:
        points = play(Plan(form, seed)).points
        for point in range(1 + seed % every, points + 1, every):
            for fault in FAULTS:
                yield Plan(form, seed, ((point, fault),))


def lines(seed: int) -> Iterator[Plan]:
    """Yield at random, for ever, what ends a worker at a line of the package."""
    draw, places = random.Random(seed), dict[str, list[str]]()
    while True:
        form = draw.choice(list(FORMS))
        if form not in places:
            places[form] = play(Plan(form, seed, line=("", ""))).lines
        yield Plan(form, seed, line=(draw.choice(places[form]), draw.choice(AT_LINES)))


def shrunk(plan: Plan) -> Plan:
    """Return the plan without the faults that aren't needed to break a promise."""
    for left_out in range(len(plan.faults)):
        smaller = replace(plan, faults=plan.faults[:left_out] + plan.faults[left_out + 1 :])
        if play(smaller).violations:
            return shrunk(smaller)
    return plan


def pairs(seed: int) -> Iterator[Plan]:
    """Yield two or three faults at random for ever, half of them near each other; some are two acts of users."""
    draw = random.Random(seed)
    others = sorted(set(FAULTS) - set(USERS))
    while True:
        form, of = draw.choice(list(FORMS)), draw.randrange(1 << 30)
        kinds = [draw.choice([*FAULTS]), *draw.choices(others, k=draw.randint(1, 2))]
        if draw.random() < USERS_SHARE:
            kinds[:2] = draw.choices([*USERS], k=2)
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


def rare_moments(seed: int) -> Iterator[Plan]:
    """
    Yield two faults for ever, each at a kind of point that is chosen before the point.

    Most points are polls; what happens once in a schedule, such as the look for a record, is hardly met by number.
    """
    draw = random.Random(seed)

    def moment(seen: Played, after: int = 0) -> int:
        points = points_by_kind(seen, after)
        return draw.choice(points[draw.choice(sorted(points))]) if points else after

    while True:
        form, of, fault = draw.choice(list(FORMS)), draw.randrange(1 << 30), draw.choice(list(FAULTS))
        yield Plan(form, of)
        first = (moment(seen_of(Plan(form, of))), fault)
        yield Plan(form, of, (first,))
        seen = seen_of(Plan(form, of, (first,)))
        for _ in range(RARE_AT_ONCE):
            yield Plan(form, of, (first, (moment(seen, first[0]), draw.choice(list(FAULTS)))))


def asked(seed: int) -> Iterator[Plan]:
    """
    Yield for ever a fault at some kind of moment, and then another one of what is asked because of it.

    After an end of a worker, a trigger or a task, for example, come calls that a quiet schedule doesn't have: the look
    for a record, the question what became of the task, the poll before a cancel, the cancel. Each of these has faults
    of whoever asks and of whoever is asked.
    """
    draw = random.Random(seed)
    while True:
        form, of = draw.choice(list(FORMS)), draw.randrange(1 << 30)
        yield Plan(form, of)
        usual = moments(seen_of(Plan(form, of)))
        kinds = draw.choices(sorted(usual), k=ALONE_AT_ONCE + FIRST_AT_ONCE)
        alone = [(draw.choice(usual[one]), draw.choice(concerning(one[1]))) for one in kinds]
        yield from (Plan(form, of, (one,)) for one in alone[FIRST_AT_ONCE:])
        for first in alone[:FIRST_AT_ONCE]:
            yield Plan(form, of, (first,))
            later = moments(seen_of(Plan(form, of, (first,))), first[0])
            new = sorted(set(later) - set(usual))
            for _ in range(ASKED_AT_ONCE if later else 0):
                moment = draw.choice(new if new and draw.random() < NEW_SHARE else sorted(later))
                point = draw.choice((later[moment][0], draw.choice(later[moment])))
                yield Plan(form, of, (first, (point, draw.choice(concerning(moment[1])))))


def varied(plan: Plan, draw: random.Random) -> Plan:
    """Return a plan that differs a little: by another fault after the last one, another moment, fault, form or seed."""
    change = draw.choice(
        (_another_fault, _another_fault, _another_moment, _other_fault, _other_form, _other_seed)
    )
    return change(plan, draw)


def _another_fault(plan: Plan, draw: random.Random) -> Plan:
    later = moments(seen_of(plan), max((point for point, _ in plan.faults), default=0))
    if not later or len(plan.faults) == FAULTS_AT_MOST:
        return _another_moment(plan, draw)
    moment = draw.choice(sorted(later))
    fault = draw.choice(concerning(moment[1]))
    return replace(plan, faults=(*plan.faults, (draw.choice(later[moment]), fault)))


def _another_moment(plan: Plan, draw: random.Random) -> Plan:
    if not plan.faults:
        return _other_seed(plan, draw)
    faults, which = list(plan.faults), draw.randrange(len(plan.faults))
    point, fault = faults[which]
    faults[which] = max(point + draw.choice((-5, -3, -2, -1, 1, 2, 3, 5)), 1), fault
    return replace(plan, faults=tuple(faults))


def _other_fault(plan: Plan, draw: random.Random) -> Plan:
    if not plan.faults:
        return _other_form(plan, draw)
    faults, which = list(plan.faults), draw.randrange(len(plan.faults))
    faults[which] = faults[which][0], draw.choice(list(FAULTS))
    return replace(plan, faults=tuple(faults))


def _other_form(plan: Plan, draw: random.Random) -> Plan:
    return replace(plan, form=draw.choice(list(FORMS)))


def _other_seed(plan: Plan, draw: random.Random) -> Plan:
    return replace(plan, seed=draw.randrange(1 << 30))


def mixed(seed: int) -> Iterator[Plan]:
    """Yield of each kind in turn, for ever."""
    kinds = (pairs, takeovers, retries, rare_moments, asked)
    for each in zip(*(kind(seed + number) for number, kind in enumerate(kinds)), strict=False):
        yield from each
