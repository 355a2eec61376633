"""The plugin that Airflow loads in each of its processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_provider_operations.provider_info import get_provider_info

LOOK = """
import json, sys
import airflow
if len(sys.argv) > 1:
    airflow.__version__ = sys.argv[1]
from airflow_provider_operations.ui.plugin import OperationsPlugin as plugin
heavy = [name for name in ("fastapi", "requests", "aiohttp", "airflow_provider_operations.hooks") if name in sys.modules]
print(json.dumps([len(plugin.fastapi_apps), [view["url_route"] for view in plugin.external_views], heavy]))
"""


@pytest.mark.parametrize(
    ("version", "seen"),
    [
        pytest.param("2.11.0", [0, []], id="2.11"),
        pytest.param("3.0.6", [0, []], id="3.0"),
        pytest.param("3.1.0", [1, ["operation", "operations"]], id="3.1"),
        pytest.param("4.0.0.dev0", [1, ["operation", "operations"]], id="later"),
    ],
)
def test_before_3_1_it_adds_nothing_and_loading_it_is_cheap(version: str, seen: list[object]) -> None:
    """Workers and DAG processors load plugins too: neither FastAPI nor an HTTP client is imported with it."""
    command = [sys.executable, "-c", LOOK, version]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(result.stdout.splitlines()[-1]) == [*seen, []]


def test_it_is_in_the_metadata_and_among_airflows_plugins() -> None:
    """By default Airflow reads the entry point alone; the metadata is for ``lazy_discover_providers`` off."""
    from importlib.metadata import entry_points

    from airflow_provider_operations.ui.plugin import OperationsPlugin

    (named,) = get_provider_info()["plugins"]
    assert named["plugin-class"] == f"{OperationsPlugin.__module__}.{OperationsPlugin.__qualname__}"
    assert named["name"] == OperationsPlugin.name
    (entry,) = entry_points(group="airflow.plugins", name="airflow_provider_operations")
    assert entry.load() is OperationsPlugin
