"""The search: what it plays, and what it tells of it."""

from __future__ import annotations

import faulthandler
import pickle
import random
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice

import pytest

from . import run
from .coverage import Coverage, kind_of
from .faults import FAULTS
from .forms import FORMS
from .run import explore, search
from .schedule import play
from .search import FAULTS_AT_MOST, Batch, batches, varied
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


def test_variations_are_plans() -> None:
    """Most differ from the one before."""
    draw, plan, differ = random.Random(1), Plan("synchronous", 1), 0
    for _ in range(200):
        before, plan = plan, varied(plan, draw)
        assert plan.form in FORMS
        assert len(plan.faults) <= FAULTS_AT_MOST
        assert all(point > 0 for point, _ in plan.faults)
        differ += plan != before
        plan = replace(plan, faults=plan.faults[-2:])
    assert differ > 180


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


@pytest.fixture
def may_fork() -> None:
    """A process that is forked while pytest's own timer runs can't set one."""
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("may_fork")
def test_a_search_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What isn't played by then is said; no process is killed for it, of which another might wait for the rest."""
    found = explore(Batch("random", "", "", 5), until_s=time.monotonic())
    assert (found.played, found.cut_short) == (0, 1)
    assert search([Batch("random", "", "", seed) for seed in range(9)], 2, minutes=0.01).cut_short == 9
    assert "9 batches weren't played, or not to their end" in capsys.readouterr().out


@pytest.mark.usefixtures("may_fork")
def test_a_process_that_is_stuck(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A loop in the code under test can't be left; it is shown, and the search has failed."""

    def play(_: Plan) -> None:
        while True:
            pass

    monkeypatch.setattr(run, "seen_of", play)
    monkeypatch.setattr(run, "STUCK_S", 0.5)
    with pytest.raises(BrokenProcessPool):
        search([Batch("random", "", "", 5)], 1)
    assert "in play" in capfd.readouterr().err
