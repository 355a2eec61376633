"""The Operation tab and the list in a real browser, on a real Airflow with roles and below a path prefix."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.tooling.harness.standalone import Standalone

from .test_airflow import journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page

    from airflow_provider_operations.emulator import EmulatorProcess

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the machine"),
]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
USERS = {"boss": "admin", "editor": "user", "reader": "viewer", "guest": ""}
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def airflow(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """An Airflow of its own, as everybody is an admin in the other."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(Path(__file__).parent / "dags/e2e_ui.py", dags)
    extra = {"console_url": "https://console.example.com/{name}"}
    connection = {"conn_type": "operations", "host": emulator.url, "password": "s3cret-token", "extra": extra}
    environment = {"AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection)}
    with Standalone(dags, environment, path="/airflow", users=USERS) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def runs(airflow: Standalone) -> dict[str, str]:
    """A run of each DAG."""
    return {name: airflow.trigger(f"e2e_ui_{name}") for name in ("failure", "hostile", "progress", "mapped")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the distribution."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Window:
    """A browser window of a signed-in user, and what it has asked for."""

    def __init__(self, context: BrowserContext, airflow: Standalone) -> None:
        self.context = context
        self.airflow = airflow
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" or "Content Security Policy" in text:
            self.complaints.append(text)

    def open_tab(self, dag_id: str, run_id: str, task: str) -> FrameLocator:
        """Open a task's tab, as a link within the UI does."""
        self.page.goto(f"{self.airflow.url}/dags/{dag_id}/runs/{run_id}/tasks/{task}/plugin/operation")
        frame = self.page.frame_locator("iframe")
        frame.locator("#operation, #notice.bad").first.wait_for(timeout=WAIT_MS)
        return frame

    def picture(self, name: str) -> None:
        """Renew a picture of the README, where the environment says so: SCREENSHOTS=docs."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def calls(self) -> list[str]:
        """Return what our pages have asked of our app."""
        return [url for url in self.asked if "/operations-ui/api/" in url]


@contextmanager
def window(browser: Browser, airflow: Standalone, user: str, **options: Any) -> Iterator[Window]:
    """Open a window of a user."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    cookie: Any = {"name": "_token", "value": airflow.token(user), "domain": "127.0.0.1", "path": "/airflow"}
    context.add_cookies([cookie | {"httpOnly": True, "sameSite": "Lax"}])
    context.route("https://console.example.com/**", lambda route: route.fulfill(body="the console"))
    try:
        yield Window(context, airflow)
    finally:
        context.close()


def test_a_failed_operation_is_shown_whole(
    browser: Browser, airflow: Standalone, runs: dict[str, str]
) -> None:
    """The error by detail type; its link opens in a new tab that can't reach ours; then nothing more is asked."""
    run_id = runs["failure"]
    airflow.until(lambda: airflow.run_state("e2e_ui_failure", run_id) == "failed", "the task has failed", 180)
    with window(browser, airflow, "reader", color_scheme="dark") as view:
        frame = view.open_tab("e2e_ui_failure", run_id, "train")
        frame.locator("#error h2").wait_for(timeout=WAIT_MS)
        assert frame.locator("#state").inner_text() == "failed"
        assert frame.locator("#error h2").inner_text() == "RESOURCE_EXHAUSTED (8)"
        assert frame.locator("#error h3").all_inner_texts() == ["ErrorInfo", "BadRequest", "Help"]
        cells = frame.locator("#error table").first.locator("tbody td").all_inner_texts()
        assert cells[:2] == ["machines[0].gpus", "at most 4 in europe-west1"]
        view.picture("operation-failed")
        with view.context.expect_page() as opened:
            frame.locator("#error a").focus()
            view.page.keyboard.press("Enter")
        opened.value.wait_for_load_state()
        assert opened.value.url == "https://console.example.com/quotas"
        assert opened.value.evaluate("window.opener") is None
        before = len(view.calls())
        view.page.wait_for_timeout(5000)
        assert len(view.calls()) == before
        assert view.complaints == []


def test_hostile_text_stays_text(browser: Browser, airflow: Standalone, runs: dict[str, str]) -> None:
    """Markup in name, message, metadata and details is shown as it came, runs nothing, and is no link."""
    run_id = runs["hostile"]
    airflow.until(lambda: airflow.run_state("e2e_ui_hostile", run_id) == "failed", "the task has failed", 180)
    with window(browser, airflow, "reader") as view:
        frame = view.open_tab("e2e_ui_hostile", run_id, "run")
        frame.locator("#error h2").wait_for(timeout=WAIT_MS)
        markup = "<img src=x onerror="
        assert markup in frame.locator("#name").inner_text()
        for place in ("#message", "#error p", "#error td >> nth=0", "#error pre", "#tree"):
            assert markup in frame.locator(place).inner_text()
        assert "javascript:" in frame.locator("#error").inner_text()
        assert frame.locator("#operation").locator("img, script, iframe, #error a").count() == 0
        assert "owned" not in view.page.title()
        assert "owned" not in frame.locator("body").evaluate("() => document.title")
        assert view.complaints == []


def test_the_list_leads_to_each_tasks_own_operation(
    browser: Browser, airflow: Standalone, runs: dict[str, str]
) -> None:
    """What runs over all DAGs, filtered by DAG; a link leads to the tab of the mapped task; dark as the UI is."""
    run_id = runs["mapped"]
    airflow.until(
        lambda: [task["state"] for task in airflow.tasks("e2e_ui_mapped", run_id)] == ["deferred"] * 2,
        "deferred",
        180,
    )
    with window(browser, airflow, "reader", color_scheme="dark") as view:
        view.page.goto(f"{airflow.url}/plugin/operations")
        frame = view.page.frame_locator("iframe")
        frame.locator("tbody tr").first.wait_for(timeout=WAIT_MS)
        frame.locator(".said:not(:empty)").first.wait_for(timeout=WAIT_MS)
        view.picture("operations-list")
        frame.locator("input[name=dag_id]").fill("e2e_ui_mapped")
        frame.get_by_role("button", name="Filter").click()
        view.page.wait_for_url("**/plugin/operations/**dag_id=e2e_ui_mapped**")
        rows = frame.locator("tbody tr")
        rows.first.wait_for()
        tabs = rows.locator("td[data-label=Task] > a")
        assert sorted(tabs.all_inner_texts()) == [f"e2e_ui_mapped / run [{i}]" for i in range(2)]
        frame.locator(".said", has_text="number").nth(1).wait_for(timeout=WAIT_MS)
        assert sorted(frame.locator(".said").all_inner_texts()) == ["number 0", "number 1"]
        assert frame.locator("#rows input:enabled").count() == 0  # a reader cancels nothing
        frame.get_by_text("run [1]").click()
        view.page.wait_for_url("**/mapped/1/plugin/operation")
        frame = view.page.frame_locator("iframe")
        frame.locator("#message").wait_for(timeout=WAIT_MS)
        assert frame.locator("#message").inner_text() == "number 1"
        root = frame.locator("html")
        assert root.get_attribute("data-theme") == "dark"
        view.page.evaluate("localStorage.setItem('theme', 'light')")
        airflow.until(lambda: root.get_attribute("data-theme") == "light", "light")
        assert view.complaints == []


def test_progress_moves_and_cancel_cancels(
    browser: Browser, airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]
) -> None:
    """
    Seen live by a reader, who gets no button, and cancelled by an editor with the keyboard.

    The service is asked once to cancel, and the task ends with the operation's cancellation.
    """
    dag_id, run_id = "e2e_ui_progress", runs["progress"]
    airflow.until(lambda: airflow.task(dag_id, run_id, "copy")["state"] == "deferred", "deferred", 180)
    name = airflow.xcom(dag_id, run_id, "copy", "operation_name")
    with window(browser, airflow, "reader") as view:
        frame = view.open_tab(dag_id, run_id, "copy")
        frame.locator("#progress[value]").wait_for(timeout=WAIT_MS)
        assert frame.locator("#name").inner_text() == name
        assert frame.locator("#state").inner_text() == "running"
        first = frame.locator("#message").inner_text()
        percent = float(frame.locator("#progress").get_attribute("value") or "nan")
        airflow.until(lambda: frame.locator("#message").inner_text() != first, "the message is another")
        assert float(frame.locator("#progress").get_attribute("value") or "nan") > percent
        assert frame.locator("#tree").get_by_text("orders").is_visible()
        frame.locator("#tree summary", has_text="stage").focus()
        view.page.keyboard.press("Enter")
        assert frame.locator("#tree").get_by_text("orders").is_hidden()
        assert frame.locator("#cancel").is_hidden()
        assert all(url.startswith(airflow.url) for url in view.asked if not url.startswith("data:"))
        assert view.complaints == []
    with window(browser, airflow, "editor") as view:
        frame = view.open_tab(dag_id, run_id, "copy")
        frame.locator("#cancel").wait_for(timeout=WAIT_MS)
        view.picture("operation-running")
        frame.locator("#cancel").focus()
        view.page.keyboard.press("Enter")
        frame.locator("#confirm").wait_for()
        assert frame.locator("#confirm code").inner_text() == name
        view.page.keyboard.press("Escape")
        assert frame.locator("#confirm").is_hidden()
        frame.locator("#cancel").press("Enter")
        frame.get_by_role("button", name="Keep it running").press("Enter")
        assert frame.locator("#confirm").is_hidden()
        assert emulator.journal("cancel", name) == []
        frame.locator("#cancel").press("Enter")
        view.page.keyboard.press("Tab")
        view.page.keyboard.press("Enter")
        frame.locator("#state[data-state=cancelled]").wait_for(timeout=WAIT_MS)
        assert frame.locator("#cancel").is_hidden()
        assert [entry["status"] for entry in emulator.journal("cancel", name)] == [200]
        assert view.complaints == []
    airflow.until(
        lambda: airflow.task(dag_id, run_id, "copy")["state"] == "failed", "the task has failed", 120
    )
    failure = airflow.failure(dag_id, run_id, "copy")
    assert failure is not None
    assert failure[0] == "OperationCancelledFinal"
    assert "cancelled through the tab by editor at " in failure[1]


def test_an_orphan_is_shown_and_cancelled(
    browser: Browser, airflow: Standalone, emulator: EmulatorProcess
) -> None:
    """
    Of a worker that was lost without a retry left; nobody has looked at it, as no sweep has run.

    Who may edit its task cancels it in the list. A sweep then notes its end, and that it ran.
    """
    dag_id = "e2e_ui_orphan"
    run_id = airflow.trigger(dag_id)
    place = "projects/ui-orphan/"
    airflow.until(lambda: journal(emulator, place, "get"), "the operation is polled", 180)
    os.kill(int(airflow.task(dag_id, run_id, "run")["pid"]), signal.SIGKILL)
    airflow.until(lambda: airflow.task(dag_id, run_id, "run")["state"] == "failed", "failed", 240)
    (name,) = (op["name"] for op in emulator.operations() if place in op["name"])
    with window(browser, airflow, "editor", color_scheme="dark") as view:
        assert view.context.request.get(f"{airflow.url}/operations-ui/health").json()["status"] == "never"
        view.page.goto(f"{airflow.url}/plugin/operations")
        frame = view.page.frame_locator("iframe")
        frame.get_by_role("link", name="Orphans").click()
        frame.locator("#rows tr", has_text=name).wait_for(
            timeout=2 * WAIT_MS
        )  # once it has been over for a minute
        row = frame.locator("#rows tr", has_text=name)
        assert re.search(r"orphan not looked at since 20\d\d-", row.inner_text())
        assert frame.locator("#sweep").inner_text().startswith("No sweep has run")
        row.locator(".said", has_text="nobody waits for it").wait_for(timeout=WAIT_MS)
        view.picture("operations-orphans")
        row.locator("input:enabled").check()
        frame.locator("#cancel").click()
        frame.locator("#confirm button[value=yes]").click()
        row.locator(".said", has_text=re.compile("cancelled; no sweep|Cancelling")).wait_for(timeout=WAIT_MS)
        airflow.until(lambda: emulator.operation(name)["done"], "it is over")
        assert len(journal(emulator, place, "cancel")) == 1
        assert airflow.command("operations", "reap").returncode == 0
        view.page.reload()
        frame = view.page.frame_locator("iframe")
        frame.locator("#sweep", has_text="Last sweep: 20").wait_for(timeout=WAIT_MS)
        assert frame.locator("#rows tr", has_text=name).count() == 0
        assert view.context.request.get(f"{airflow.url}/operations-ui/health").json()["status"] == "healthy"
        assert view.complaints == []


@pytest.mark.parametrize(("user", "status"), [("guest", 403), ("reader", 403), (None, 401)])
def test_who_may_not_cancel_is_refused_by_the_server(
    browser: Browser,
    airflow: Standalone,
    emulator: EmulatorProcess,
    runs: dict[str, str],
    user: str | None,
    status: int,
) -> None:
    """Whatever a page shows: without edit access, or without a session, nothing is cancelled."""
    context = browser.new_context()
    headers = {
        "X-Airflow-Operations": "cancel",
        **({"Cookie": f"_token={airflow.token(user)}"} if user else {}),
    }
    query = f"run_id={runs['mapped']}&task_id=run&map_index=0&name=x".replace("+", "%2B")
    url = f"{airflow.url}/operations-ui/api/dags/e2e_ui_mapped/operation/cancel?{query}"
    before = len(emulator.journal("cancel"))
    assert context.request.post(url, headers=headers).status == status
    assert len(emulator.journal("cancel")) == before
    context.close()
