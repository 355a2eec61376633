"""
The plugin that Airflow's UI shows (3.1 or later; before, it adds nothing).

Airflow loads plugins in every process, so nothing heavy is imported here: the app is, at its first request.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_operations._airflow.compat import UI_HAS_VIEWS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["OperationsPlugin"]

URL_PREFIX = "operations-ui"


class _ImportedLater:
    """The app, imported at its first request, as it imports FastAPI and the hooks."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._lock = threading.Lock()

    def _load(self) -> ASGIApp:
        with self._lock:
            if self._app is None:
                from airflow_provider_operations.ui.app import create_app

                self._app = create_app()
            return self._app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = await asyncio.to_thread(self._load) if self._app is None else self._app
        await app(scope, receive, send)


def _external_views() -> list[dict[str, Any]]:
    # Without a leading slash a browser resolves them against the UI's <base>, which has [api] base_url's path.
    icon = f"{URL_PREFIX}/static/icon.svg"
    return [
        {
            "name": "Operation",
            "href": f"{URL_PREFIX}/task?dag_id={{DAG_ID}}&run_id={{RUN_ID}}&task_id={{TASK_ID}}&map_index={{MAP_INDEX}}",
            "destination": "task_instance",
            "url_route": "operation",
            "icon": icon,
            "icon_dark_mode": f"{URL_PREFIX}/static/icon-dark.svg",
        },
        {
            "name": "Task Operations",
            "href": f"{URL_PREFIX}/list",
            "destination": "nav",
            "category": "browse",
            "url_route": "operations",
            "icon": icon,
            "icon_dark_mode": f"{URL_PREFIX}/static/icon-dark.svg",
        },
    ]


class OperationsPlugin(AirflowPlugin):
    """The tab "Operation" on the task instance page, the list "Task Operations", and the app that serves both."""

    name = "airflow_provider_operations"
    fastapi_apps = (
        [{"app": _ImportedLater(), "url_prefix": f"/{URL_PREFIX}", "name": "Long-Running Operations"}]
        if UI_HAS_VIEWS
        else []
    )
    external_views = _external_views() if UI_HAS_VIEWS else []
