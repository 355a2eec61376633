"""The tab's script in a real browser, with answers made up here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

import airflow_provider_operations.ui

if TYPE_CHECKING:
    from playwright.sync_api import Route

STATIC = Path(airflow_provider_operations.ui.__file__).parent / "static"
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the machine"),
]


def view(name: str) -> dict[str, Any]:
    """Return what the app says of a running operation."""
    return {
        "task": {"map_index": -1, "state": "deferred", "started": None, "ended": None},
        "name": name,
        "operation": {"name": name, "state": "running"},
        "problem": None,
        "remembered": False,
        "live": True,
        "may_cancel": True,
        "conn_id": "operations_default",
        "console_url": None,
    }


def test_what_is_cancelled_is_what_the_question_named() -> None:
    """The task was cleared while the question was open: its new operation isn't the one that was asked about."""
    from playwright.sync_api import sync_playwright

    now = ["operations/old"]
    asked: list[str] = []

    def answer(route: Route) -> None:
        url = urlsplit(route.request.url)
        if "/static/" in url.path:
            route.fulfill(path=STATIC / url.path.rpartition("/")[2])
        elif url.path.endswith("/cancel"):
            asked.extend(parse_qs(url.query)["name"])
            route.fulfill(status=409, body=json.dumps({"detail": "by now another"}))
        elif "/api/" in url.path:
            route.fulfill(body=json.dumps(view(now[0])), content_type="application/json")
        else:
            route.fulfill(path=STATIC / "task.html")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route("**/*", answer)
        page.goto("http://airflow.test/operations-ui/task?dag_id=d&run_id=r&task_id=t&map_index=-1")
        page.locator("#cancel").click()
        now[0] = "operations/new"
        page.locator("h1", has_text="operations/new").wait_for()
        assert page.locator("#confirm-name").text_content() == "operations/old"
        page.locator("#confirm button[value=yes]").click()
        page.locator("#notice", has_text="by now another").wait_for()
        browser.close()
    assert asked == ["operations/old"]
