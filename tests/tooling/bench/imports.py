"""What a fresh interpreter imports of ours to run an operator, over Airflow's own part of it."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

from tests.tooling.bench.bench import Row

if TYPE_CHECKING:
    from tests.tooling.bench.bench import Bench

__all__ = ["imports"]

CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""


def imports(bench: Bench) -> list[Row]:
    """CPU of what a fresh interpreter imports to run an operator, over Airflow's own part."""
    modules = bench.run("tests.tooling.bench.imported", "null", connection_to=CLOSED)["modules"]
    each = [
        bench.run("tests.tooling.bench.imported", json.dumps(modules), connection_to=CLOSED)
        for _ in range(bench.either(7, 3))
    ]
    ours, airflow = (statistics.median(one[whose] for one in each) for whose in ("ours_s", "airflow_s"))
    return [
        Row(
            "imports of a fresh interpreter that runs an operator, over Airflow's own",
            "≤ 0.1 s",
            f"{ours:.3f} s ({len(modules)} modules)",
            f"{airflow:.2f} s (Airflow's own)",
            met=ours <= 0.1,
            figures={"each": each, "modules": modules},
        )
    ]
