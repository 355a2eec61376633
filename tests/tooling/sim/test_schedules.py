"""Whole schedules: the model and the package's real code together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest.mock import patch

import pytest

from airflow_provider_operations.triggers import OperationTrigger

from .forms import FORMS
from .schedule import Played, play
from .search import mixed, shrunk, singles
from .world import Plan


def _plan(form: str, seed: int, moment: str, fault: str) -> Plan:
    """Return a plan with a fault at the first hand-over that is described so."""
    trace = play(Plan(form, seed)).trace
    what = next(what for _, actor, what in trace if moment in f"{actor} {what}" and what.endswith("]"))
    return Plan(form, seed, ((int(what.rpartition("[")[2][:-1]), fault),))


def _starts(seen: Played) -> int:
    return len(seen.world.server.operations)


@pytest.mark.parametrize("form", FORMS)
def test_without_faults(form: str) -> None:
    """The task succeeds with one start and no cancel."""
    seen = play(Plan(form, 7))
    assert not seen.violations, seen
    assert seen.world.airflow.state == "success"
    assert _starts(seen) == 1
    assert not seen.world.server.operations[0].cancels


def test_a_plan_is_a_trace() -> None:
    """The same plan brings the same trace, whatever was played before; another seed another one."""
    plan = Plan("deferred", 3, ((30, "freeze triggerer"), (40, "server refuses for 20 s")))
    first = play(plan)
    other = play(Plan("synchronous", 4, ((20, "evict worker"),)))
    assert play(plan).trace == first.trace != other.trace


def test_a_killed_task_is_cancelled() -> None:
    """A mark while the task is deferred: the trigger's ``on_kill`` cancels, within seconds."""
    seen = play(_plan("deferred", 1, "triggerer 2 GET", "mark failed"))
    assert not seen.violations, seen
    assert not seen.exceptions
    assert len(seen.world.server.operations[0].cancels) == 1


def test_a_cleared_task_starts_afresh() -> None:
    """A clear while the task is deferred: the old operation is cancelled, and another one begins."""
    seen = play(_plan("deferred", 1, "triggerer 2 GET", "clear"))
    assert not seen.violations, seen
    assert _starts(seen) == 2
    assert seen.world.server.operations[0].cancels


def test_a_lost_worker_is_replaced() -> None:
    """The next try takes the operation over."""
    seen = play(_plan("synchronous", 5, "GET", "lose node"))
    assert not seen.violations, seen
    assert seen.world.airflow.try_number == 2
    assert _starts(seen) == 1


def test_a_named_exception_is_counted() -> None:
    """A start whose answer is lost with its worker, without a request id."""
    seen = play(_plan("synchronous, no request id", 5, "POST run is carried out", "kill worker"))
    assert not seen.violations, seen
    assert _starts(seen) == 2
    assert seen.exceptions == {"a start's answer is lost, and there is no request id"}


def test_a_sensor_that_is_marked_cancels() -> None:
    """What it waits for, as it was asked to; cleared, it waits on."""
    seen = play(_plan("poking sensor", 2, "worker 1 GET", "mark failed"))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels
    seen = play(_plan("deferred sensor", 1, "takes trigger", "clear"))
    assert not seen.violations, seen
    assert not seen.world.server.operations[0].cancels


def test_a_plan_shrinks() -> None:
    """Faults that have nothing to do with a violation are left out."""
    moment = _plan("deferred", 1, "triggerer 2 GET", "mark failed")
    other = (3, "answer lost")
    with patch.object(OperationTrigger, "on_kill", _nothing):
        assert shrunk(replace(moment, faults=(other, *moment.faults))) == moment


async def _nothing(_: object) -> None: ...


@pytest.mark.parametrize("plan", [*singles(6, every=60), *itertools.islice(mixed(6), 20)], ids=str)
def test_some_of_the_search(plan: Plan) -> None:
    """What ``make sim`` plays in thousands."""
    seen = play(plan)
    assert not seen.violations, seen
