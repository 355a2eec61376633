"""Traces: what was recorded in a real Airflow is what the simulated one can do, and nothing impossible is."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice

import pytest

from .accepting import RECORDED, SCHEDULES, WITNESSES, Model, plans, read_plans
from .observed import observe
from .traces import Event, Situation, Trace, read_traces
from .world import Plan

FEW = 400
"""So many schedules are played for a small trace: some seconds."""


def _trace(*what: str, like: Trace) -> Trace:
    return replace(like, events=tuple(Event(float(number), one) for number, one in enumerate(what)))


@pytest.fixture(scope="module")
def undisturbed() -> Trace:
    """A deferred operator's life without faults."""
    return observe(Plan("deferred", 7))[1]


@pytest.fixture(scope="module")
def model(undisturbed: Trace) -> Model:
    """What some schedules of that family have shown."""
    model = Model()
    model.want([_trace("nothing like this", like=undisturbed)])
    model.learn(islice(plans(1), 5000), FEW)
    return model


def test_the_order_of_a_schedule_without_faults(undisturbed: Trace) -> None:
    """The record is written before the start, and the XCom before the deferral."""
    what = [event.what for event in undisturbed.events]
    order = ["record: starting", "start: new", "record: started", "xcom: newest"]
    assert [one for one in what if one in order] == order
    assert what.index("xcom: newest") < what.index("task: running>deferred") < what.index("trigger: taken")
    assert what[-1] == "task: running>success"


def test_situations() -> None:
    """They are made of the events before."""
    now = Situation()
    for what in ("task: None>queued (next try)", "task: queued>running", "record: starting", "start: new"):
        now = now.after(what)
    assert now == Situation("running", record="starting", newest="runs")
    assert now.after("xcom: newest").after("start: new") == Situation(
        "running", record="starting", xcom="older", newest="runs", older_runs=True
    )
    assert now.after("task: running>deferred").trigger == "free"


def test_a_trace_survives_its_file(undisturbed: Trace) -> None:
    """As a line of JSON; times are kept to a millisecond."""
    again = Trace.from_json(undisturbed.to_json())
    assert [one.what for one in again.events] == [one.what for one in undisturbed.events]
    assert again.family == undisturbed.family


def test_another_schedule_is_accepted(model: Model) -> None:
    """The model accepts what it does itself, with other times."""
    assert model.refusal(observe(Plan("deferred", 99))[1]) is None


@pytest.mark.parametrize(
    ("before", "impossible"),
    [
        ("task: queued>running", "start: new"),  # before the record is written
        ("task: running>deferred", "cancel in triggerer: newest"),  # nobody has ended the task
        ("trigger: taken", "task: deferred>running"),  # by no scheduler
        ("task: running>success", "start: new"),  # after the end
        ("record: started", "record: delivered"),  # while its operation runs
    ],
)
def test_what_cant_be_is_refused(model: Model, undisturbed: Trace, before: str, impossible: str) -> None:
    """A trace with one impossible event in it is refused at that event."""
    what = [event.what for event in undisturbed.events]
    what.insert(what.index(before) + 1, impossible)
    refusal = model.refusal(_trace(*what, like=undisturbed))
    assert refusal is not None
    assert refusal.steps[0][1].what == impossible
    assert impossible in str(refusal)


def test_an_unknown_family_is_refused(model: Model, undisturbed: Trace) -> None:
    """What isn't simulated isn't accepted either."""
    refusal = model.refusal(replace(undisturbed, family="something else"))
    assert refusal is not None
    assert "no form" in str(refusal)


def test_what_real_airflows_did_is_accepted() -> None:
    """
    Each trace that the chaos suite and the end-to-end tests recorded.

    The plans that show their steps are kept, and move with the code; ``make sim TRACES=1`` keeps new ones.
    """
    found = {file.stem: read_traces(file) for file in RECORDED.glob("*.jsonl")}
    assert {stem for stem, traces in found.items() if traces} >= {"chaos", "e2e"}
    traces = list(chain.from_iterable(found.values()))
    model = Model()
    model.want(traces)
    model.replay(read_plans(WITNESSES))
    model.learn(plans(1), SCHEDULES)
    refused = [str(refusal) for trace in traces if (refusal := model.refusal(trace))]
    assert not refused
