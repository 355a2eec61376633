from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers._watermark import (
    MAX_KNOWN,
    Checkpoint,
    ListSnapshot,
    Seen,
    UnreadableCheckpoint,
)
from tests.support.clocks import MovedClock

NOW = MovedClock.now

pytestmark = pytest.mark.usefixtures("moved")


def over(name: str, ended: float | None = None, created: float | None = None) -> Seen:
    return Seen(name, "succeeded", created, ended, "", "{}")


def look(
    *seen: Seen, running: tuple[str, ...] = (), whole: bool = True, ask: list[str] | None = None
) -> ListSnapshot:
    asked = [] if ask is None else ask
    return ListSnapshot({each.name: each for each in seen}, running, whole, ask_for=asked.append)


def names(news: list[Seen]) -> list[str]:
    return [seen.name for seen in news]


def stored(memory: Checkpoint) -> Checkpoint:
    return Checkpoint.from_json(json.loads(json.dumps(memory.to_json())))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("2027-01-15T08:00:00Z", NOW, id="utc"),
        pytest.param("2027-01-15T08:00:00.123456789Z", NOW + 0.123456789, id="nanoseconds"),
        pytest.param("2027-01-15T10:00:00+02:00", NOW, id="offset"),
        pytest.param("2027-13-15T08:00:00Z", None, id="no such month"),
        pytest.param("yesterday", None, id="words"),
        pytest.param(1_800_000_000, None, id="number"),
    ],
)
def test_times_are_read_as_rfc_3339_has_them(value: object, expected: float | None) -> None:
    """Times are read as RFC 3339 has them; what can't be read is none."""
    seen = Seen.of(Operation("x", done=True, metadata={"endTime": value, "createTime": value}))
    assert (seen.ended_epoch_s, seen.created_epoch_s) == (expected, expected)


@pytest.mark.parametrize(
    ("seen", "whole", "is_news"),
    [
        pytest.param(over("x", NOW + 5), True, True, id="ended later"),
        pytest.param(over("x", NOW - 5), True, True, id="ended before, but wasn't there: the clocks differ"),
        pytest.param(over("x"), True, True, id="no time, and wasn't there"),
        pytest.param(over("x", NOW + 5), False, True, id="part of the list: ended later"),
        pytest.param(over("x", NOW - 5), False, False, id="part of the list: ended before"),
        pytest.param(over("x", None, NOW + 5), False, True, id="part of the list: made later"),
        pytest.param(over("x", None, NOW - 5), False, False, id="part of the list: made before"),
        pytest.param(over("x"), False, False, id="part of the list: no time"),
    ],
)
def test_what_began_and_ended_between_two_looks_is_new(seen: Seen, whole: bool, is_news: bool) -> None:
    """What began and ended between two looks is new unless it may have been over at the first start."""
    memory = Checkpoint.beginning_with(look(over("old", NOW - 10), whole=whole), NOW)
    assert names(memory.news_of(look(over("old", NOW - 10), seen, whole=whole))) == ["x"] * is_news
    assert memory.news_of(look(seen)) == []


def test_what_was_seen_running_is_new_at_its_end() -> None:
    """What was seen running is new at its end, whatever its times say."""
    memory = Checkpoint.beginning_with(look(running=("x",), whole=False), NOW)
    assert names(memory.news_of(look(over("x", NOW - 99)))) == ["x"]


def test_ends_are_reported_in_their_order() -> None:
    """Ends are told in their order, those without a time last."""
    memory = Checkpoint.beginning_with(look(), NOW)
    assert names(memory.news_of(look(over("c"), over("b", NOW + 2), over("a", NOW + 1)))) == ["a", "b", "c"]


def test_only_the_last_hour_is_remembered() -> None:
    """An end is remembered for an hour, by then its time says that it's old; without a time it stays."""
    memory = Checkpoint.beginning_with(look(over("old", NOW - 9000), over("untimed")), NOW)
    memory.news_of(look(over("x", NOW - 100)))
    memory.told(["x"])
    size = len(memory.to_json()["timed"]) // 8
    assert (size, len(memory.to_json()["untimed"]) // 8) == (1, 1)
    assert memory.news_of(look(over("old", NOW - 9000), over("untimed"), over("x", NOW - 100))) == []


def test_a_time_in_the_future_makes_nothing_old() -> None:
    """A time in the far future is no reason to take everything before it for old."""
    memory = Checkpoint.beginning_with(look(over("odd", NOW + 1e9)), NOW)
    assert names(memory.news_of(look(over("odd", NOW + 1e9), over("x", NOW)))) == ["x"]
    assert memory.news_of(look(over("odd", NOW + 1e9))) == []


@pytest.mark.slow
def test_memory_is_bounded_and_nothing_reported_twice() -> None:
    """Thousands of ends without a time, or within an hour, need a bounded memory, and none is told twice."""
    memory = Checkpoint.beginning_with(look(), NOW)
    timed = [over(f"timed-{number}", NOW + number / 10) for number in range(MAX_KNOWN + 500)]
    assert len(memory.news_of(look(*timed))) == MAX_KNOWN + 500
    assert memory.news_of(look(*timed)) == []
    untimed = [over(f"untimed-{number}") for number in range(3000)]
    assert len(memory.news_of(look(*untimed))) == 3000
    assert memory.news_of(look(*untimed)) == []
    memory.told([seen.name for seen in (*timed, *untimed)])
    running = tuple(f"projects/p/locations/europe-west1/operations/{number:036}" for number in range(3000))
    memory.news_of(look(running=running))
    text = json.dumps(memory.to_json())
    assert len(text) < 65_536
    assert len(stored(memory).running) == 1000


def test_what_was_reported_before_a_restart_is_known_after_it() -> None:
    """What was told before a restart is known after it; what wasn't stored is told again, asked for if need be."""
    memory = Checkpoint.beginning_with(look(over("old", NOW - 10), over("timeless"), running=("a", "b")), NOW)
    memory.news_of(look(over("told", NOW), over("lost", NOW + 1), running=("a", "b")))
    memory.told(["told"])
    again = stored(memory)
    asked: list[str] = []
    everything = (over("old", NOW - 10), over("timeless"), over("told", NOW))
    assert again.news_of(look(*everything, running=("b",), ask=asked)) == []
    assert asked == ["lost", "a"]
    ended = look(over("lost", NOW + 1), over("a", NOW - 50), running=("b",), ask=asked)
    assert names(again.news_of(ended)) == ["a", "lost"]
    assert again.running == ("b",)


def test_forgotten_over_a_restart() -> None:
    """One of which the server knows nothing any more is asked for in three looks, no more."""
    again = stored(Checkpoint.beginning_with(look(running=("gone",)), NOW))
    asked: list[str] = []
    for _ in range(6):
        again.news_of(look(ask=asked))
    assert asked == ["gone"] * 3
    assert again.running == ()


def test_what_another_watcher_has_reported_is_not_reported_again() -> None:
    """What another watcher of the same has told isn't told again."""
    memory = Checkpoint.beginning_with(look(running=("a", "b")), NOW)
    other = Checkpoint.beginning_with(look(running=("a", "b")), NOW)
    other.news_of(look(over("a", NOW)))
    assert names(memory.news_of(look(over("a", NOW), over("b", NOW)), stored(other))) == ["a", "b"]
    memory = Checkpoint.beginning_with(look(running=("a", "b")), NOW)
    other.told(["a"])
    assert names(memory.news_of(look(over("a", NOW), over("b", NOW)), stored(other))) == ["b"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        {},
        {"version": 2},
        {"version": 1, "whole": True, "floor": "x"},
        {**Checkpoint().to_json(), "timed": "abc"},
        {**Checkpoint().to_json(), "running": [1]},
        {**Checkpoint().to_json(), "running": 1},
        {**Checkpoint().to_json(), "running": [1], "prefix": 1},
        {**Checkpoint().to_json(), "untimed": []},
        {**Checkpoint().to_json(), "floor": float("nan")},
        {**Checkpoint().to_json(), "newest": float("inf")},
        {**Checkpoint().to_json(), "floor": 10**400},
    ],
    ids=lambda value: str(value)[-60:],
)
def test_unreadable_notes_are_refused(value: Any) -> None:
    """Notes that this version didn't write are refused, not misread."""
    with pytest.raises(UnreadableCheckpoint):
        Checkpoint.from_json(value)
