"""
A fresh interpreter that imports what an operator needs: ``python -m tests.tooling.bench.imported MODULES RESULT``.

``MODULES`` is a JSON list of modules, in the order of their import. With ``null`` an operator polls a service once, and
the result says which modules that has imported; with a list, how much CPU it takes to import them.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def main(told: str, result: str) -> None:
    """Write the result."""
    modules: list[str] | None = json.loads(told)
    began = time.process_time()
    import_module("airflow.sdk.execution_time.task_runner")
    import_module("airflow.sdk")
    import_module("airflow.providers.common.compat.sdk")
    airflow_s = time.process_time() - began
    before, began = set(sys.modules), time.process_time()
    if modules is None:
        from airflow_provider_operations._protocol.response import CallFailure
        from airflow_provider_operations.operators import RunOperationOperator

        task = RunOperationOperator(task_id="run", operations_conn_id="bench", path="things")
        asked = task.hook.poll("operations/x")  # nobody listens there
        assert isinstance(asked, CallFailure)
        assert not asked.sent
        found: dict[str, object] = {"modules": [name for name in sys.modules if name not in before]}
    else:
        for name in modules:
            with suppress(ImportError):  # what a compiled module makes of itself
                import_module(name)
        found = {"ours_s": time.process_time() - began, "airflow_s": airflow_s}
    Path(result).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
