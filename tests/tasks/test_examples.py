"""The example for Google Cloud Build, judged by Google's own client."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.connections import set_connection
from tests.support.tasks import TaskInstance

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "dags/examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning:httplib2")
def test_cloud_build(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example starts a build with the request that Google's client sends for the same build."""
    import httplib2
    from googleapiclient.discovery import build

    set_connection(monkeypatch, emulator.url, "cloud_build", password="a-token")
    task = example("operations_cloud_build").build
    task.render_template_fields({"params": {"project": "p", "image": "host/p/images/app"}})
    task.deferrable = False
    task.execute({"ti": TaskInstance("build")})

    options = {"api_endpoint": emulator.url}
    with build(
        "cloudbuild", "v1", http=httplib2.Http(), client_options=options, static_discovery=True
    ) as client:
        client.projects().builds().create(projectId="p", body=task.json).execute()

    ours, theirs = (entry for entry in emulator.journal() if entry["kind"] == "start")
    assert [ours[key] for key in ("method", "path", "body")] == [
        theirs[key] for key in ("method", "path", "body")
    ]
    assert ours["headers"]["authorization"] == "Bearer a-token"
    assert ours["body"]["images"] == ["host/p/images/app"]
