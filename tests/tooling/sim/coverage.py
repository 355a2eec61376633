"""What a search has reached: transitions of the task, and which fault at which kind of point."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .schedule import Played

__all__ = ["Coverage", "kind_of", "moments", "points_between", "points_by_kind"]

_TRANSITION = re.compile(r"(\w+ -> \w+) \(try ")
_POINT = re.compile(r"(.*) \[(\d+)\]$")


def kind_of(actor: str, what: str) -> str:
    """Return what many points have in common: who does what, without numbers and reasons."""
    what = what.partition(" (")[0]
    if "trigger" in what:
        what = what.rstrip("0123456789 ")
    return f"{actor.rstrip('0123456789 ')}: {what}"


def points_by_kind(seen: Played, after: int = 0) -> dict[str, list[int]]:
    """
    Return the numbers of a schedule's points.

    :param after: only of those that come after this one.
    """
    points: dict[str, list[int]] = {}
    for _, actor, what in seen.trace:
        if (point := _POINT.match(what)) and int(point[2]) > after:
            points.setdefault(kind_of(actor, point[1]), []).append(int(point[2]))
    return points


def moments(seen: Played, after: int = 0) -> dict[tuple[str, str], list[int]]:
    """
    Return the numbers of a schedule's points: by kind, and by the kind of the point before of the same process.

    So the poll before a cancel is another moment than the polls of a wait.

    :param after: only of those that come after this one.
    """
    points: dict[tuple[str, str], list[int]] = {}
    before: dict[str, str] = {}
    for _, actor, what in seen.trace:
        if point := _POINT.match(what):
            kind = kind_of(actor, point[1])
            if int(point[2]) > after:
                points.setdefault((before.get(actor, ""), kind), []).append(int(point[2]))
            before[actor] = kind
    return points


def points_between(seen: Played, since_s: float, until_s: float) -> range:
    """Return the numbers of a schedule's points in some time, and of the next one."""
    at_s = [at_s for at_s, _, what in seen.trace if _POINT.match(what)]
    first, last = bisect_left(at_s, since_s) + 1, bisect_right(at_s, until_s) + 1
    return range(first, last + 1)


@dataclass
class Coverage:
    """
    Of many schedules.

    :param transitions: of the task, how often each.
    :param kinds: of points, those that schedules without faults have.
    :param reached: at which kind of point which fault has happened, how often.
    :param lines: at how many lines of the package a worker was told to end, by form.
    """

    transitions: Counter[str] = field(default_factory=Counter)
    kinds: set[str] = field(default_factory=set)
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Played) -> None:
        """Take what one schedule has reached."""
        for _, actor, what in seen.trace:
            if actor == "airflow" and (found := _TRANSITION.match(what)):
                self.transitions[found[1]] += 1
            if not seen.plan.faults and (point := _POINT.match(what)):
                self.kinds.add(kind_of(actor, point[1]))
        self.reached.update(seen.world.reached)
        if seen.plan.line is not None and seen.plan.line[0]:
            self.lines[seen.plan.form] += 1

    def merge(self, other: Coverage) -> None:
        """Take what another process has reached."""
        self.transitions.update(other.transitions)
        self.kinds |= other.kinds
        self.reached.update(other.reached)
        self.lines.update(other.lines)

    def report(self, faults: list[str]) -> str:
        """Return it for people; of points and faults, those that weren't reached."""
        missed = [f"{fault} at {kind}" for kind in sorted(self.kinds) for fault in faults
                  if not self.reached[kind, fault]]  # fmt: skip
        total = len(self.kinds) * len(faults)
        lines = [f"transitions of the task: {len(self.transitions)}"]
        lines += [f"  {count:8} {name}" for name, count in self.transitions.most_common()]
        lines.append(f"faults at kinds of points: {total - len(missed)} of {total}")
        lines += [f"  not reached: {one}" for one in missed[:20]]
        lines.append(f"SIGTERM at lines: {sum(self.lines.values())}, of {len(self.lines)} forms")
        return "\n".join(lines)
