from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._protocol.polling import MAX_HINT, Outage, Schedule

STEADY = Schedule(maximum_s=30.0, random=lambda: 0.0)
SHORTEST = Schedule(maximum_s=30.0, random=lambda: 1.0)


def test_pauses_grow_geometrically() -> None:
    """The first pause is half a second, each one 1.2 times the one before, up to the poke interval."""
    age, pauses = 0.0, []
    for _ in range(25):
        pauses.append(STEADY.next_delay(age))
        age += pauses[-1]
    assert pauses == pytest.approx([min(0.5 * 1.2**number, 30.0) for number in range(25)])
    assert pauses[-1] == 30.0


@pytest.mark.parametrize(
    ("age_s", "pause_s"),
    [(-5, 0.5), (0, 0.5), (1, 0.7), (10, 2.5), (147.4, 29.98), (147.5, 30.0), (1e9, 30.0)],
)
def test_pause_by_age(age_s: float, pause_s: float) -> None:
    """The pause depends on the age alone, so a restarted watcher goes on where the schedule is."""
    assert STEADY.next_delay(age_s) == pytest.approx(pause_s)


def test_a_poke_interval_below_the_first_pause_wins() -> None:
    """The poke interval is the longest pause, from the first one on."""
    assert Schedule(maximum_s=0.2, random=lambda: 0.0).next_delay(0) == 0.2


@pytest.mark.parametrize(("age_s", "pause_s"), [(0, 0.45), (1000, 27.0)])
def test_jitter_shortens_by_a_tenth_at_most(age_s: float, pause_s: float) -> None:
    """Jitter takes up to 10 % off, never adds: the poke interval is a promise."""
    assert SHORTEST.next_delay(age_s) == pytest.approx(pause_s)


@given(st.floats(0, 1e6))
def test_jitter_stays_within_the_last_tenth(age_s: float) -> None:
    """Whatever the random number, the pause is within the last tenth of the schedule's."""
    steady = STEADY.next_delay(age_s)
    assert 0.9 * steady - 1e-9 <= Schedule(maximum_s=30.0).next_delay(age_s) <= steady


@pytest.mark.parametrize(
    ("hint_s", "pause_s"), [(0, 0.5), (0.4, 0.5), (45, 45.0), (600, 600.0), (601, 600.0), (86_400, 600.0)]
)
def test_a_hint_lengthens_the_pause_and_never_shortens_it(hint_s: float, pause_s: float) -> None:
    """A server may lengthen the pause, beyond the poke interval too, up to 10 minutes; never shorten it."""
    assert STEADY.next_delay(0, timedelta(seconds=hint_s)) == pause_s
    assert timedelta(minutes=10) == MAX_HINT


@pytest.mark.parametrize(
    ("age_s", "hint_s", "left_s", "pause_s"),
    [
        pytest.param(1000, None, 5, 5.0, id="deadline-before-the-pause"),
        pytest.param(1000, None, 100, 30.0, id="deadline-after-the-pause"),
        pytest.param(0, 60, 7, 7.0, id="deadline-before-the-hint"),
        pytest.param(0, None, 0, 0.0, id="deadline-now"),
        pytest.param(0, None, -3, 0.0, id="deadline-passed"),
    ],
)
def test_the_deadline_wins(age_s: float, hint_s: float | None, left_s: float, pause_s: float) -> None:
    """No pause reaches beyond the deadline, hint or not."""
    hint = None if hint_s is None else timedelta(seconds=hint_s)
    assert STEADY.next_delay(age_s, hint, left_s) == pause_s


def test_hints_are_not_jittered_away() -> None:
    """What the server asks for is the least that is waited."""
    assert SHORTEST.next_delay(0, timedelta(seconds=20)) == 20.0


def test_outage_counts_from_the_first_failure() -> None:
    """An outage is exceeded exactly at its tolerance, counted from the first failure."""
    outage = Outage(60)
    assert [outage.exceeded(now) for now in (100, 130, 159.9, 160, 161)] == [False, False, False, True, True]
    assert outage.since_epoch_s == 100


def test_an_answer_ends_an_outage() -> None:
    """After an answer the next failure begins a new outage."""
    outage = Outage(60)
    outage.exceeded(100)
    outage.over()
    assert outage.since_epoch_s is None
    assert not outage.exceeded(1000)
    assert outage.since_epoch_s == 1000


def test_an_outage_remembered_by_others() -> None:
    """Where a watch doesn't live as long as the wait, the outage goes on from the time it is given."""
    assert Outage(60, since_epoch_s=100).exceeded(160)


def test_a_tolerance_of_0_bears_no_failure() -> None:
    """A tolerance of 0 bears not even one failure."""
    assert Outage(0).exceeded(100)
