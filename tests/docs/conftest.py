from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from .markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run_in_airflow(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run modules in an Airflow with an empty database; see ``execute``."""
    folder = tmp_path / "blocks"
    for each in (folder, tmp_path / "dags"):
        each.mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTEST"))}
    environment = {
        **inherited,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]),
    }

    def command(*argv: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *argv], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"

    def run(modules: dict[str, str], **plan: Any) -> dict[str, Any]:
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        command("airflow", "db", "migrate")
        file = folder / "plan.json"
        file.write_text(json.dumps({"run": list(modules), **plan}))
        command("tests.docs.execute", str(file))
        results: dict[str, Any] = json.loads(file.with_suffix(".result").read_text())
        return results

    return run
