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
VERSIONS = ("2.11", "3.0", "3.1", "3.2", "3.3")


def table() -> dict[str, dict[str, str]]:
    """Return the cells, by row and version."""
    (section,) = (
        each
        for each in sections((DOCS / "versions.md").read_text(encoding="utf-8"))
        if each.title == "What each version can do"
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


def skip_where_one_failed(version: str) -> None:
    """A committed failure turns no test red: ``make matrix`` ends with an error and RESULTS.md names it."""
    failed = [one for one in MEASURED if one["airflow"].startswith(f"{version}.") and not one["passed"]]
    if failed:
        pytest.skip(f"make matrix has failed on {version}, so what it has seen there isn't compared")


def test_every_row_is_accounted_for() -> None:
    """Rows are measured, or the page says that only the tests tell; columns are all versions."""
    assert table().keys() == ROWS.keys() | BY_TESTS_ALONE
    assert {tuple(cells) for cells in table().values()} == {VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", ROWS)
def test_cells(row: str, version: str) -> None:
    """``yes`` where every environment of the version has seen it, something else where none has."""
    skip_where_one_failed(version)
    cell = table()[row][version]
    for feature in ROWS[row]:
        expected = set() if (version, feature) in NOT_THERE else {cell.startswith(YES)}
        assert found(version, feature) == expected, (feature, cell)


def test_the_form_of_3_0() -> None:
    """It is there with the FAB provider."""
    skip_where_one_failed("3.0")
    assert table()["form of the connection"]["3.0"] == "with the FAB provider"
    assert found("3.0", "connection form with FAB") == {True}
