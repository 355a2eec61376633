"""Every block of Python is run, in a real Airflow and against the emulator."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .markdown import DOCS, PAGES, blocks, sections

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = {block.name: block.text for page in PAGES for block in blocks(page) if block.language == "python"}
FIRST = next(name for name, text in PYTHON.items() if 'dag_id="first_operations"' in text)
"""One of its tasks fails, as it is there for that."""

OF_OPERATIONS = re.compile(r'(?:operations_conn_id=|OperationsHook\()"(\w+)"')


def connections() -> dict[str, dict[str, Any]]:
    """Return every connection that a block names; a recipe's own with its prefix, and nobody's credentials."""
    found: dict[str, dict[str, Any]] = {
        conn_id: {"conn_type": "operations"}
        for text in PYTHON.values()
        for conn_id in OF_OPERATIONS.findall(text)
    }
    for section in sections((DOCS / "recipes.md").read_text(encoding="utf-8")):
        for block in section.blocks:
            if block.language == "json":
                extra = {
                    key: value for key, value in json.loads(block.text)["extra"].items() if key != "auth"
                }
                (python,) = (each.text for each in section.blocks if each.language == "python")
                for conn_id in OF_OPERATIONS.findall(python):
                    found[conn_id] = {"conn_type": "operations", "extra": extra}
    return {"operations_default": {"conn_type": "operations"}, **found}


def wrong() -> dict[str, str]:
    """Return blocks with an error each: they show what the test is worth."""
    dag = next(text for text in PYTHON.values() if "with DAG(" in text)
    script = 'json={"operation": {"error": {"code": 9, "message": "no"}}, '
    return {
        "wrong_argument": dag.replace("deferrable=True", "deferable=True"),
        "wrong_end": dag.replace('dag_id="', 'dag_id="wrong_').replace("json={", script),
        "wrong_test": "def test_x(operations_emulator):\n    assert operations_emulator.journal()\n",
        "wrong_attribute": "def alert(context):\n    context['exception'].operation.nmae\n",
    }


def test_every_block_runs(run_in_airflow: Callable[..., dict[str, Any]]) -> None:
    """DAGs are found by Airflow's DagBag and run to success, tests pass, callbacks are called, the rest is executed."""
    results = run_in_airflow(
        {**PYTHON, **wrong()},
        connections=connections(),
        operations=[{"name": "projects/my-project/operations/import-1", "duration": 3}],
    )

    starts = results.pop("journal")
    assert results.keys() == {*PYTHON, *wrong()}
    assert "deferable" in results.pop("wrong_argument")[0]
    assert results.pop("wrong_end")[0].startswith("failed: ")
    assert results.pop("wrong_test") == ["pytest: 1"]
    assert "nmae" in results.pop("wrong_attribute")[0]

    (first,) = results.pop(FIRST)
    assert first == "failed: {'green[-1]': 'success', 'red[-1]': 'failed'}"

    well = re.compile(r"success: \{'|executed$|called$|pytest: 0$")
    failed = {
        name: result
        for name, result in results.items()
        if not all(well.match(each) for each in result)
        or any("'failed'" in each or "'skipped'" in each for each in result)
    }
    assert failed == {}
    with_dags = {name for name, text in PYTHON.items() if "with DAG(" in text and "def test_" not in text} - {
        FIRST
    }
    assert {name for name, result in results.items() if result[0].startswith("success")} == with_dags
    recipes = [name for name in with_dags if name.startswith("recipes")]
    assert len(recipes) >= 9
    assert ["executed", "called"] in results.values()
    assert ["PATCH", "/v1/projects/my-project/instances/my-instance/databases/orders/ddl"] in starts
    assert ["POST", "/v2/projects/my-project/locations/europe-west1/jobs/nightly:run"] in starts
    assert ["POST", "/v1/speech:longrunningrecognize"] in starts
