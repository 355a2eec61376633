"""
``python -m tests.tooling.bench.parsed KIND COUNT FILE``: what the tasks of a DAG cost when its file is parsed.

Airflow and the operators are imported before, as a DAG file's other tasks would have done. ``KIND`` is ``path``,
``api_method`` (the same method in all tasks), or ``api_methods`` (each task another one, of many APIs).
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from airflow.providers.common.compat.sdk import DAG

import airflow_provider_operations
from airflow_provider_operations.operators import RunOperationOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = "file.projects.locations.instances.create"
PLACE = "projects/p/locations/europe-west1-b"
BODY = {"tier": "BASIC_HDD"}


def arguments(kind: str) -> Iterator[dict[str, Any]]:
    """Yield what tasks are made with."""
    if kind == "path":
        yield from cycle([{"path": f"{PLACE}/instances", "query": {"instanceId": "nfs"}, "json": BODY}])
    if kind == "api_method":
        given = {"parent": PLACE, "instanceId": "nfs"}
        yield from cycle([{"api_method": ONE, "parameters": given, "json": BODY}])
    yield from ({"api_method": method, "parameters": "{{ params.all }}"} for method in others())


def others() -> list[str]:
    """Return methods of as many APIs as possible; they are known to an author, and not looked up before."""
    lines = (Path(airflow_provider_operations.__file__).parent / "_google_apis/defaults.txt").read_text()
    by_api: dict[str, list[str]] = {}
    for line in lines.splitlines()[1:]:
        name = line.partition(" ")[0]
        if "." in name:
            by_api.setdefault(name.partition(".")[0], []).append(name)
    return [name for names in zip_longest(*by_api.values()) for name in names if name]


def measure(kind: str, count: int) -> dict[str, float]:
    """Return CPU in milliseconds and memory in kB that the tasks take together."""
    made = list(islice(arguments(kind), count))
    gc.collect()
    process = psutil.Process()
    rss, cpu_s = process.memory_info().rss, time.process_time()
    with DAG(dag_id="d", schedule=None) as dag:
        for number, given in enumerate(made):
            RunOperationOperator(task_id=f"t{number}", deferrable=True, **given)
    cpu_ms = 1000 * (time.process_time() - cpu_s)
    assert len(dag.tasks) == count
    gc.collect()
    return {"cpu_ms": cpu_ms, "memory_kb": (process.memory_info().rss - rss) / 1024}


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
