"""The judge: what the emulator's journal and Airflow's database say, against the invariants."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .rounds import round_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cluster import Cluster
    from .rounds import Round

__all__ = ["Evidence", "Verdict", "gather", "judge"]


@dataclass(frozen=True)
class Op:
    """An operation as the emulator has it."""

    name: str
    started_s: float
    ended_s: float | None
    cancelled: bool
    """It was asked to cancel, with effect."""

    def __str__(self) -> str:
        end = "goes on" if self.ended_s is None else f"over after {self.ended_s - self.started_s:.1f} s"
        return f"{self.name[-8:]}: {end}{', cancelled' if self.cancelled else ''}"


@dataclass
class Evidence:
    """What is known about one round."""

    ops: list[Op] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    """Starts and cancels."""
    state: str | None = None
    max_tries: int | None = None
    tries: int = 0
    error: tuple[str, str] | None = None
    spoiled: int = 0
    """Requests that met a fault of the server."""
    markers: frozenset[str] = frozenset()
    swept: int = 0
    """Operations that a sweep has asked to cancel."""
    raced: int = 0
    """Tries that Airflow has ended by itself (#72716), so that fewer were left for operations."""
    taken_for_lost: bool = False
    """Airflow reset its living worker, as the scheduler was slow."""


@dataclass
class Verdict:
    """
    What the judge says about a round.

    :param missed: faults that did not come about; such a round proves nothing.
    """

    round: Round
    evidence: Evidence
    violations: list[str]
    missed: list[str]

    def report(self) -> str:
        """Return the evidence for people."""
        one, found = self.round, self.evidence
        lines = [one.name, *(f"  VIOLATION: {text}" for text in self.violations)]
        lines += [f"  fault did not come about: {text}" for text in self.missed]
        if found.taken_for_lost:
            lines.append("  the scheduler took a living worker of it for lost")
        if found.swept:
            lines.append(f"  a sweep has asked to cancel {found.swept} operations of it")
        if found.raced:
            lines.append(f"  Airflow ended {found.raced} of its tries by itself")
        lines.append(f"  state {found.state}, error {found.error}")
        lines += [f"  operation {op}" for op in found.ops]
        events = [(entry["time"], _line(entry)) for entry in found.journal] + one.acts
        first = min((at for at, _ in events), default=0.0)
        lines += [f"  {at - first:7.1f} s  {text}" for at, text in sorted(events)]
        return "\n".join(lines)


def _line(entry: dict[str, Any]) -> str:
    extra = ", deduplicated" if entry["deduplicated"] else ""
    name = (entry["operation"] or "")[-8:]
    request_id = str(entry["query"].get("requestId", ""))[-8:]
    return f"{entry['kind']} {name} → {entry['status']}{extra} {entry['fault'] or ''} {request_id}".rstrip()


def gather(cluster: Cluster, rounds: Sequence[Round]) -> dict[str, Evidence]:
    """Collect what emulator and database know about these rounds."""
    found: dict[str, Evidence] = defaultdict(Evidence)
    for resource in cluster.emulator.operations():
        meta = resource["metadata"]
        end = _epoch(meta["endTime"]) if "endTime" in meta else None
        op = Op(resource["name"], _epoch(meta["createTime"]), end, meta["requestedCancellation"])
        found[round_of(op.name)].ops.append(op)
    for entry in cluster.emulator.journal():
        evidence = found[round_of(entry["path"])]
        if entry["kind"] in {"start", "cancel"}:
            evidence.journal.append(entry)
        evidence.spoiled += entry["fault"] is not None
    tis = cluster.tis()
    raced, swept = cluster.raced(), cluster.swept()
    taken_for_lost = cluster.taken_for_lost()
    for one in rounds:
        evidence = found[one.id]
        ti = tis.get(one.id)
        evidence.state = "gone" if ti is None else ti.state
        evidence.max_tries = None if ti is None else ti.max_tries
        evidence.tries = 0 if ti is None else ti.try_number
        evidence.error = cluster.failure(one.dag_id, one.id, "run")
        evidence.raced = raced[one.id]
        evidence.swept = swept[one.id]
        evidence.taken_for_lost = one.id in taken_for_lost
        markers = (cluster.home / "markers").glob(f"{one.id}.*")
        evidence.markers = frozenset(marker.name.partition(".")[2] for marker in markers)
    return found


def _epoch(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def judge(one: Round, found: Evidence, *, sweeps: bool = False, swept: bool = False) -> Verdict:
    """
    Say where a round breaks an invariant, and which of its faults did not come about.

    :param sweeps: sweeps look for operations that no task waits for; ``swept``: and have had the time for it.
    """
    expect = one.expect
    if sweeps:
        most = 0 if swept and expect.swept else expect.left[1]
        expect = replace(expect, left=(0, most), touched=expect.touched or expect.swept)
    ops = sorted(found.ops, key=lambda op: op.started_s)
    violations = []

    # A clear that did not come about starts nothing; it is counted as missed.
    counted = one.acted == len(one.steps) and not _taken_for_a_retry(one, found)
    least = expect.starts[0] if counted else min(expect.starts[0], 1)
    least = min(least, max(least - found.raced, 1))
    if not least <= len(ops) <= expect.starts[1]:
        violations.append(f"{len(ops)} operations were started, not {_span(expect.starts)}")
    asked_s = {
        entry["operation"]: entry["time"] for entry in reversed(found.journal) if entry["kind"] == "cancel"
    }
    if not expect.out_of_reach:
        for before, op in itertools.pairwise(ops):
            if expect.may_be_ending and before.cancelled and asked_s[before.name] < op.started_s:
                continue
            if before.ended_s is None or before.ended_s > op.started_s:
                violations.append(f"{op.name[-8:]} was started while {before.name[-8:]} was running")
    left = [op for op in ops if op.ended_s is None]
    if not expect.left[0] <= len(left) <= expect.left[1]:
        violations.append(f"{len(left)} operations run on without a task, not {_span(expect.left)}")
    if not expect.touched:
        violations += [f"{op.name[-8:]} was cancelled, but nobody asked for it" for op in ops if op.cancelled]
        calls = [entry["operation"] or "" for entry in found.journal if entry["kind"] == "cancel"]
        in_vain = set(calls) - {op.name for op in ops if op.cancelled}
        violations += [f"a cancel call for {name[-8:]}, which was over" for name in sorted(in_vain)]
    if expect.asked and not any(entry["kind"] == "cancel" for entry in found.journal):
        violations.append("no cancel call was sent")
    # What nobody has marked, as the suite came too late, ends as it would; it is counted as missed.
    if found.state not in expect.states and one.acted == len(one.steps):
        violations.append(f"the task is {found.state}, not {' or '.join(expect.states)}")
    error = found.error[0].rpartition(".")[2] if found.error else None
    if expect.error is not None and error not in expect.error:
        violations.append(f"the error is {error}, not {' or '.join(expect.error)}")
    if expect.tries is not None and found.tries > expect.tries:
        violations.append(f"the task needed {found.tries} tries, not {expect.tries}")
    if expect.within_s is not None:
        for op in ops:
            if op.ended_s is not None and op.ended_s - op.started_s > expect.within_s:
                violations.append(
                    f"{op.name[-8:]} was cancelled {op.ended_s - op.started_s:.0f} s after its start, "
                    f"not within {expect.within_s:g} s"
                )
    if one.over_s is None:
        violations.append("the run did not end in time")
    return Verdict(one, found, violations, _missed(one, found))


def _missed(one: Round, found: Evidence) -> list[str]:
    missed = [f"die at {phase}" for phase in one.die if f"die-{phase}" not in found.markers]
    if (one.server or one.server_faults) and not found.spoiled:
        missed.append("no request met the server's fault")
    missed += [f"no call met {fault}" for fault in one.api if not fault.fired]
    if one.line is not None and one.line.troubles and not one.line.hits:
        missed.append("no connection met the line's trouble")
    if one.acted < len(one.steps):
        missed.append(f"{one.acted} of {len(one.steps)} acts from outside came about")
    if _taken_for_a_retry(one, found):
        missed.append("Airflow made a retry of the clear")
    return missed


def _taken_for_a_retry(one: Round, found: Evidence) -> bool:
    """Tell whether Airflow hasn't counted a clear: it is known by ``max_tries`` alone."""
    return one.max_tries is not None and one.max_tries == found.max_tries


def _span(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


def as_json(verdict: Verdict) -> str:
    """Return a verdict's journal as JSON lines."""
    return "\n".join(json.dumps(entry) for entry in verdict.evidence.journal)
