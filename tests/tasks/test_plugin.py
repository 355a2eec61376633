"""The plugin that Airflow loads in each of its processes."""

from __future__ import annotations

import json
import subprocess
import sys

from airflow_provider_operations.provider_info import get_provider_info
from tests.versions import AIRFLOW

LOOK = """
import json, sys
from airflow.providers.common.compat.sdk import AirflowPlugin
before = set(sys.modules)
from airflow_provider_operations.ui.plugin import OperationsPlugin as plugin
heavy = [name for name in ("fastapi", "requests", "aiohttp", "airflow_provider_operations.hooks")
         if name in set(sys.modules) - before]
print(json.dumps([len(plugin.fastapi_apps), [view["url_route"] for view in plugin.external_views], heavy]))
"""


def test_before_3_1_it_adds_nothing_and_loading_it_is_cheap() -> None:
    """Workers and DAG processors load plugins too: neither FastAPI nor an HTTP client is imported with it."""
    seen = [1, ["operation", "operations"]] if AIRFLOW >= (3, 1) else [0, []]
    command = [sys.executable, "-c", LOOK]
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


def test_the_link_is_called_otherwise_than_the_tab() -> None:
    """The tab shows the operation, the link leads to the service: side by side in the UI they need two names."""
    from airflow_provider_operations.links import OperationLink
    from airflow_provider_operations.ui.plugin import OperationsPlugin

    views = {view["name"] for view in OperationsPlugin.external_views}
    assert OperationLink.name not in views
