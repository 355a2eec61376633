"""The search: what it plays, and what it tells of it."""

from __future__ import annotations

import pickle
from itertools import islice

import pytest

from .coverage import Coverage, kind_of
from .faults import FAULTS
from .forms import FORMS
from .run import explore
from .schedule import play
from .search import Batch, batches
from .world import Plan


def test_all_there_is() -> None:
    """Each fault at each form, alone and in pairs, signals at lines, and the rest at random."""
    every = {"single": 1, "line": 1, "pair": 1}
    todo = list(batches(1, every=every, count=600))
    assert {(one.form, one.fault) for one in todo if one.what == "single"} == {
        (form, fault) for form in FORMS for fault in FAULTS
    }
    assert {one.form for one in todo if one.what == "line"} == set(FORMS)
    assert sum(one.what == "random" for one in todo) == 3


@pytest.mark.parametrize("what", ["single", "line", "pair", "random"])
def test_a_batch_is_the_same_in_another_process(what: str) -> None:
    """Its plans follow from what is sent there."""
    batch = Batch(what, "synchronous", "evict worker", 5)
    plans = list(islice(batch.plans(), 20))
    assert len(set(plans)) == len(plans) > 3
    assert list(islice(pickle.loads(pickle.dumps(batch)).plans(), 20)) == plans


def test_all_kinds_of_points_are_known() -> None:
    """What has no fault in it shows them; so a search says what it hasn't reached."""
    found = explore(Batch("single", "poking sensor", next(iter(FAULTS)), 5, every=20))
    assert "worker: GET get leaves" in found.coverage.kinds
    assert "not reached: clear at worker: GET get leaves" in found.coverage.report(["clear"])


def test_what_was_found_is_told() -> None:
    """Plans that broke a promise, exceptions that had an effect, and what was reached."""
    found = explore(Batch("single", "synchronous, no request id", "kill worker", 5, every=9))
    assert found.played > 3
    assert not found.broken
    assert found.exceptions["a start's answer is lost, and there is no request id"] >= 0
    assert found.coverage.transitions["running -> up_for_retry"]
    assert all(fault == "kill worker" for _, fault in found.coverage.reached)


def test_coverage_says_what_was_not_reached() -> None:
    """Kinds of points are those of schedules without faults."""
    coverage = Coverage()
    coverage.add(play(Plan("synchronous", 1)))
    assert "supervisor: GET get leaves" not in coverage.kinds
    assert "worker: GET get leaves" in coverage.kinds
    assert f"of {len(coverage.kinds)}" in coverage.report(["clear"])
    other = Coverage()
    other.add(play(Plan("synchronous", 1, ((9, "clear"),))))
    coverage.merge(other)
    assert sum(coverage.reached.values()) == 1


def test_kinds_have_no_numbers() -> None:
    """What differs from schedule to schedule is left out."""
    assert kind_of("triggerer 2", "takes trigger 1") == "triggerer: takes trigger"
    assert kind_of("airflow", "running -> deferred (try 1 of 6; worker 1)") == "airflow: running -> deferred"
