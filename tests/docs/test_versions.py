"""The documentation's table of Airflow versions says what ``make matrix`` has measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .markdown import DOCS, ROOT, sections

ROWS = {
    "operators, sensor in all modes, deferral, `@task.operation`": [
        "operator",
        "sensor",
        "deferral",
        "decorator",
    ],
    "cancel when killed while running, or while deferred": [
        "cancel when killed while running",
        "cancel when killed while deferred",
    ],
    "a task whose worker is lost is tried again": ["retry after a lost worker"],
    "durable start: that try takes the operation over": ["takeover after a lost worker"],
    "link to the console": ["link"],
    'tab "Operation", list "Task Operations"': ["UI tab and list"],
    "form of the connection": ["connection form"],
    "commands": ["airflow operations"],
    "`OperationsEventTrigger`": ["asset watcher"],
}
"""A row; what has to be true for its cell to begin with one of ``YES``."""

YES = ("yes", "`airflow operations`")

BY_TESTS_ALONE = {"`end_from_trigger`", "`OperationRetryPolicy`"}

NOT_THERE = {("2.11", "asset watcher")}
"""What can't even be tried."""

MEASURED: list[dict[str, Any]] = list(
    json.loads((ROOT / "tests" / "tooling" / "matrix" / "RESULTS.json").read_text(encoding="utf-8")).values()
)


def table() -> dict[str, dict[str, str]]:
    """Return the cells, by row and version."""
    (section,) = (
        each
        for each in sections((DOCS / "versions.md").read_text(encoding="utf-8"))
        if each.title == "Airflow versions"
    )
    (_, *versions), *rows = section.rows
    return {name: dict(zip(versions, cells, strict=True)) for name, *cells in rows}


def found(version: str, feature: str) -> set[bool]:
    """Return what the environments of an Airflow version have seen."""
    return {
        one["features"][feature]
        for one in MEASURED
        if one["airflow"].startswith(f"{version}.") and feature in one["features"]
    }


def test_every_row_is_accounted_for() -> None:
    """Rows are measured, or the page says that only the tests tell."""
    assert table().keys() == ROWS.keys() | BY_TESTS_ALONE


@pytest.mark.parametrize("row", ROWS)
def test_cells(row: str) -> None:
    """``yes`` where every environment of the version has seen it, something else where none has."""
    for version, cell in table()[row].items():
        for feature in ROWS[row]:
            expected = set() if (version, feature) in NOT_THERE else {cell.startswith(YES)}
            assert found(version, feature) == expected, (version, feature, cell)


def test_the_form_of_3_0() -> None:
    """It is there with the FAB provider."""
    assert table()["form of the connection"]["3.0"] == "with the FAB provider"
    assert found("3.0", "connection form with FAB") == {True}


def test_all_passed() -> None:
    """What is kept are results that passed."""
    assert [one["airflow"] for one in MEASURED if not one["passed"]] == []
