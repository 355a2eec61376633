"""The latest sweep: whether it is as young as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.models.log import Log
from airflow.utils.session import create_session

from airflow_provider_operations._sweep.latest import EVENT, Latest, latest, status, store

if TYPE_CHECKING:
    from tests.ui.conftest import Database

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("age_s", "every_s", "max_age_s", "expected"),
    [
        (3600, 0, None, "healthy"),
        (3601, 0, None, "unhealthy"),
        (900, 300, None, "healthy"),
        (901, 300, None, "unhealthy"),
        (300, 5, None, "healthy"),  # a sweep takes as long as services take to answer
        (301, 5, None, "unhealthy"),
        (10_000, 3600, None, "healthy"),
        (61, 300, 60, "unhealthy"),
        (7000, 300, 7200, "healthy"),
        (-5, 300, None, "healthy"),  # hosts' clocks differ
        (-901, 300, None, "unhealthy"),  # so far ahead that it would hide for long that no more sweeps come
    ],
)
def test_status(age_s: float, every_s: float, max_age_s: float | None, expected: str) -> None:
    """By how often sweeps come, if that is known; by what is asked for, if something is."""
    one = Latest(NOW - age_s, 1.0, 0, every_s=every_s)
    assert status(one, NOW, max_age_s) == expected


def test_never() -> None:
    """There was none."""
    assert status(None, NOW) == "never"


def test_both_of_two_that_came_first(database: Database) -> None:
    """Each has written a line: the later one counts, and no more lines come of it."""
    with create_session() as session:
        for _ in range(2):
            session.add(Log(event=EVENT, extra="{}"))
        session.flush()
    for at in (NOW, NOW + 1):
        with create_session() as session:
            store(Latest(at, 1.0, 2, {"cancelled": 1}, ("a", "b"), 300.0), session)
        with create_session() as session:
            assert latest(session) == Latest(at, 1.0, 2, {"cancelled": 1}, ("a", "b"), 300.0)
    assert len(database.execute("SELECT id FROM log")) == 2


@pytest.mark.parametrize(
    "extra",
    [
        None,
        "",
        "x",
        "[]",
        "{}",
        "5",
        '{"version": 2}',
        '{"version": 1, "at_epoch_s": NaN}',
        '{"version": 1, "at_epoch_s": 1, "took_s": 1, "looked": 1, "away": [], "every_s": 1, "fates": []}',
        f'{{"version": 1, "at_epoch_s": 1, "took_s": 1{"0" * 400}}}',
    ],
    ids=lambda extra: str(extra)[:40],
)
def test_what_cant_be_read(database: Database, extra: str | None) -> None:
    """Of a version to come: as if there was none."""
    with create_session() as session:
        session.add(Log(event=EVENT, extra=extra))
    with create_session() as session:
        assert latest(session) is None
