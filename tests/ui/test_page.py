"""The scripts of the tab and the list in a real browser, with answers made up here."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

import airflow_provider_operations.ui

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, Route

    Opened = Callable[..., Page]

STATIC = Path(airflow_provider_operations.ui.__file__).parent / "static"
CHROMIUM = shutil.which("chromium")
TAB = "task?dag_id=d&run_id=r&task_id=t&map_index={MAP_INDEX}"  # the UI leaves its placeholder as it is
LONG = "كتابة " + "word " * 60 + "x" * 400
RED, GREEN, BLUE = "rgb(220, 38, 38)", "rgb(21, 128, 61)", "rgb(14, 165, 233)"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the machine"),
]


def view(name: str, **said: Any) -> dict[str, Any]:
    """Return what the app says of a running operation; with ``operation`` some of it otherwise, or none."""
    operation = said.pop("operation", {})
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "state": "deferred"}
    return {
        "task": {**task, "started": None, "ended": None},
        "name": name,
        "operation": operation and {"name": name, "state": "running", **operation}
        if operation != {}
        else {"name": name, "state": "running"},
        "problem": None,
        "remembered": False,
        "live": True,
        "may_cancel": True,
        "cancel_asked": None,
        "conn_id": "operations_default",
        "console_url": None,
        **said,
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the distribution."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open one of the pages; ``answer(path, query)`` is what the app answers with, or a status and that."""
    contexts = []
    complaints: list[str] = []

    def open_(answer: Callable[[str, dict[str, str]], Any], url: str = TAB, **options: Any) -> Page:
        stored: dict[str, str] = options.pop("stored", {})

        def fulfill(route: Route) -> None:
            parts = urlsplit(route.request.url)
            if "/static/" in parts.path:
                route.fulfill(path=STATIC / parts.path.rpartition("/")[2])
            elif "/api/" in parts.path:
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                answered = answer(parts.path, query)
                status, body = answered if isinstance(answered, tuple) else (200, answered)
                route.fulfill(status=status, body=json.dumps(body), content_type="application/json")
            else:
                route.fulfill(path=STATIC / ("list.html" if parts.path.endswith("/list") else "task.html"))

        context = browser.new_context(**{"timezone_id": "Europe/Berlin", **options})
        contexts.append(context)
        for key, value in stored.items():
            context.add_init_script(f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})")
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**/*", fulfill)
        page.goto(f"http://airflow.test/operations-ui/{url}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


# --- the tab -------------------------------------------------------------------------------------------------------


def test_what_is_cancelled_is_what_the_question_named(opened: Opened) -> None:
    """The task was cleared while the question was open: its new operation isn't the one that was asked about."""
    now = ["operations/old"]
    asked: list[str] = []

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/cancel"):
            asked.append(query["name"])
            return 409, {"detail": "by now another"}
        return view(now[0])

    page = opened(answer)
    page.locator("#cancel").click()
    now[0] = "operations/new"
    page.locator("h1", has_text="operations/new").wait_for()
    assert page.locator("#confirm-name").text_content() == "operations/old"
    page.locator("#confirm button[value=yes]").click()
    page.locator("#notice", has_text="by now another").wait_for()
    assert asked == ["operations/old"]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        pytest.param({}, "2026-06-01 14:00:00", id="the browser's"),
        pytest.param({"timezone": '"UTC"'}, "2026-06-01 12:00:00", id="UTC"),
        pytest.param({"timezone": '"America/New_York"'}, "2026-06-01 08:00:00", id="another"),
        pytest.param({"timezone": "{"}, "2026-06-01 14:00:00", id="unreadable"),
        pytest.param({"timezone": '"Atlantis/Poseidonis"'}, "2026-06-01 14:00:00", id="nowhere"),
    ],
)
def test_times_are_as_in_airflows_own_ui(opened: Opened, stored: dict[str, str], shown: str) -> None:
    """In the time zone that was chosen there, in its format; durations as well."""
    times = {"started": "2026-06-01T12:00:00Z", "ended": "2026-06-02T13:02:03Z", "state": "succeeded"}
    page = opened(lambda *_: view("operations/o", operation=times, live=False), stored=stored, locale="de")
    assert page.locator("#started time").inner_text() == shown
    assert page.locator("#elapsed").inner_text() == "1d01:02:03"


def test_the_time_zone_may_be_changed(opened: Opened) -> None:
    """Airflow's UI around the tab has a menu for it."""
    page = opened(lambda *_: view("operations/o", operation={"started": "2026-06-01T12:00:00Z"}))
    page.locator("#started time").wait_for()
    twin = page.context.new_page()
    twin.route("**/*", lambda route: route.fulfill(body="the UI"))
    twin.goto("http://airflow.test/")
    twin.evaluate("localStorage.setItem('timezone', '\"Asia/Tokyo\"')")
    page.locator("#started time", has_text="2026-06-01 21:00:00").wait_for()


@pytest.mark.parametrize(
    ("state", "color"),
    [("running", BLUE), ("failed", RED), ("succeeded", GREEN)],
)
def test_the_bar_has_the_states_colour(opened: Opened, state: str, color: str) -> None:
    """A failed operation's bar isn't that of one that gets on."""
    page = opened(
        lambda *_: view("operations/o", operation={"state": state, "percent": 40}, live=False),
        color_scheme="light",
    )
    bar = page.locator("#progress[value]")
    bar.wait_for()
    assert bar.evaluate("bar => getComputedStyle(bar).color") == color


def test_the_error_stands_first(opened: Opened) -> None:
    """Above progress and message; whoever opens the tab of a failed task wants to know why."""
    error = {"code": "ABORTED (10)", "message": "why", "sections": []}
    failed = {"state": "failed", "percent": 40, "message": "half way", "error": error}
    page = opened(lambda *_: view("operations/o", operation=failed, live=False))
    page.locator("#error", has_text="why").wait_for()
    text = page.locator("#operation").inner_text()
    places = [text.index(part) for part in ("failed", "ABORTED (10)", "why", "40 %", "half way")]
    assert places == sorted(places)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_long_text_wraps(opened: Opened, scheme: Any) -> None:
    """At 600 px nothing is cut off or makes the page wider; text of other scripts is laid out by its own."""
    error = {
        "code": "ABORTED (10)",
        "message": LONG,
        "sections": [
            {
                "title": "BadRequest",
                "table": {"columns": ["field"], "rows": [[LONG]]},
                "facts": [["a", LONG]],
            },
            {"title": "Detail", "json": {"a": LONG}},
        ],
    }
    said = {"name": LONG, "state": "failed", "message": LONG, "error": error, "metadata": {LONG: LONG}}
    page = opened(
        lambda *_: view(LONG, operation=said, live=False, problem=LONG),
        viewport={"width": 600, "height": 800},
        color_scheme=scheme,
    )
    page.locator("#message").wait_for()
    assert fits(page)
    for place in ("#name", "#message", "#error p", "#error td", "#error dd", "#tree .value"):
        assert page.locator(place).first.evaluate("part => getComputedStyle(part).direction") == "rtl", place


@pytest.mark.parametrize("state", ["failed", "up_for_retry", "success", "running"])
def test_a_task_whose_start_failed_points_to_its_log(opened: Opened, state: str) -> None:
    """Airflow shows the log first on a task's page; of tasks that are well nothing is said of it."""
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "state": state}
    without = {**view("x"), "name": None, "operation": None, "live": state in {"running", "up_for_retry"}}
    page = opened(lambda *_: {**without, "task": task, "may_cancel": False})
    page.locator("#notice", has_text="This task has no operation").wait_for()
    links = page.locator("#notice a")
    found = [link.get_attribute("href") for link in links.all()]
    assert found == (
        ["http://airflow.test/dags/d/runs/r/tasks/t"] if state in {"failed", "up_for_retry"} else []
    )


def test_the_last_progress_stays_in_an_outage(opened: Opened) -> None:
    """With when it was seen; and not that of another operation."""
    away = {"operation": None, "problem": "UNAVAILABLE (14): away", "may_cancel": False}
    answers = iter(
        [
            view("operations/o", operation={"percent": 42, "message": "copying"}),
            view("operations/o", **away),
            view("operations/next", **away),
        ]
    )
    last = view("operations/next", **away)
    page = opened(lambda *_: next(answers, last))
    page.locator("#percent", has_text="42 %").wait_for()
    page.locator("#notice", has_text="away").wait_for()
    assert page.locator("#percent").inner_text() == "42 %"
    assert page.locator("#message").inner_text() == "copying"
    assert page.locator("#remembered").inner_text().startswith("as seen at 20")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # not in ten seconds, but now
    page.locator("#name", has_text="operations/next").wait_for()
    assert page.locator("#state").inner_text() == "unknown"
    assert page.locator("#message").is_hidden()
    assert page.locator("#remembered").is_hidden()


def test_percent_never_falls(opened: Opened) -> None:
    """While it is the same operation: the service's estimate of the whole may grow, and a retry begins anew."""
    answers = iter(
        [
            view("operations/o", operation={"percent": 42, "message": "a"}),
            view("operations/o", operation={"percent": 7, "message": "b"}),
            view("operations/next", operation={"percent": 7, "message": "c"}),
        ]
    )
    last = view("operations/next", operation={"percent": 7, "message": "c"})
    page = opened(lambda *_: next(answers, last))
    for message, percent in (("a", "42 %"), ("b", "42 %"), ("c", "7 %")):
        page.locator("#message", has_text=message).wait_for()
        assert page.locator("#percent").inner_text() == percent


def test_who_asked_to_cancel_is_shown(opened: Opened) -> None:
    """As the audit log has it."""
    asked = {"by": "ann <b>", "at": "2026-06-01T12:00:00+00:00"}
    page = opened(lambda *_: view("operations/o", cancel_asked=asked))
    shown = page.locator(
        "#cancellation", has_text=re.compile("^asked for by ann <b> at 2026-06-01 14:00:00$")
    )
    shown.wait_for()


# --- the list ------------------------------------------------------------------------------------------------------


def listed(names: list[str], *, show: str = "running", **said: Any) -> dict[str, Any]:
    """Return what the app says of mapped tasks that have these operations."""
    ended = show != "running"
    return {
        "operations": [
            {
                "dag_id": "d",
                "run_id": "r",
                "task_id": "t",
                "map_index": index,
                "state": "failed" if ended else "deferred",
                "name": name,
                "conn_id": "c",
                "since": "2026-06-01T12:00:00+00:00",
                "ended": "2026-06-01T13:00:00+00:00" if ended else None,
                "result": "failed" if ended else None,
                "message": f"ABORTED (10): {LONG}" if ended else None,
                "console_url": "https://console.example.com/x",
                "orphan": None,
            }
            for index, name in enumerate(names)
        ],
        "counts": {"running": 120, "orphans": 2, "failed": 3, "ended": 40},
        "more_orphans": False,
        "sweep": {"status": "never", "last_sweep": None, "looked": 0, "cancelled": 0, "left": 0},
        "offset": 0,
        "page_rows": 50,
        "sort": "-ended" if ended else "since",
        "states": ["deferred", "running"],
        **said,
    }


NAMES = [f"operations/{index}" for index in range(5)]


def running(path: str, query: dict[str, str]) -> Any:
    """Answer for the list of five operations, of which the last may not be cancelled."""
    if path.endswith("/operations"):
        return listed(NAMES)
    index = int(query["map_index"])
    said = {"percent": 10.0 * index, "message": f"step {index}"}
    return view(NAMES[index], operation=said, may_cancel=index != 4)


def test_the_list_shows_progress_and_leads_on(opened: Opened) -> None:
    """Each row with progress and message, links to tab, log and console; lists with their counts; sorting, pages."""
    page = opened(running, "list?dag_id=D")
    page.locator(".said", has_text="step 4").wait_for()
    assert page.locator("h1").inner_text() == page.title() == "Task Operations"
    assert page.locator(".said").all_inner_texts() == [f"step {index}" for index in range(5)]
    assert page.locator(".progress span").all_inner_texts() == [f"{10 * index} %" for index in range(5)]
    row = page.locator("#rows tr").nth(1)
    links = [link.get_attribute("href") for link in row.locator("a").all()]
    task = "http://airflow.test/dags/d/runs/r/tasks/t/mapped/1"
    assert links == [f"{task}/plugin/operation", task, "https://console.example.com/x"]
    shows = {link.inner_text(): link.get_attribute("href") for link in page.locator("#shows a").all()}
    assert shows == {
        "Running 120": "?dag_id=D&show=running&sort=&state=",
        "Orphans 2": "?dag_id=D&show=orphans&sort=&state=",
        "Failed 3": "?dag_id=D&show=failed&sort=&state=",
        "All ended 40": "?dag_id=D&show=ended&sort=&state=",
    }
    heads = {link.inner_text(): link.get_attribute("href") for link in page.locator("#head a").all()}
    assert heads["Task"] == "?dag_id=D&sort=task"
    assert heads["Since ↑"] == "?dag_id=D&sort=-since"
    assert page.locator("#pages").inner_text().startswith("1 to 5 of 120")
    assert page.locator("#pages a").get_attribute("href") == "?dag_id=D&offset=5"


def test_what_has_ended_is_not_asked_for(opened: Opened) -> None:
    """Its end is in Airflow's database."""
    asked: list[str] = []

    def answer(path: str, query: dict[str, str]) -> Any:
        asked.append(path)
        assert query == {"show": "failed", "hours": "168"}
        return listed(NAMES, show="failed")

    page = opened(answer, "list?show=failed&hours=168")
    page.locator("#rows tr").nth(4).wait_for()
    assert page.locator("#rows .badge[data-state=failed]").count() == 10
    assert page.locator("#rows").get_by_text("01:00:00", exact=True).count() == 5
    assert page.locator("#rows input").count() == 0
    assert page.locator("select[name=hours]").input_value() == "168"
    assert asked == ["/operations-ui/api/operations"]


@pytest.mark.parametrize("width", [600, 1000])
@pytest.mark.parametrize("show", ["running", "failed"])
def test_the_list_survives_a_narrow_window(opened: Opened, width: int, show: str) -> None:
    """Long names and messages wrap, whatever the width."""
    names = [f"operations/{LONG}", "operations/o"]

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/operations"):
            return listed(names, show=show)
        return view(names[int(query["map_index"])], operation={"percent": 5, "message": LONG})

    page = opened(answer, f"list?show={show}", viewport={"width": width, "height": 800})
    page.locator(".said", has_text="word").nth(1).wait_for()
    assert fits(page)
    assert page.locator("#rows td").last.is_visible()
    assert page.locator("#head a").first.is_visible()


def test_many_are_cancelled_as_one_is(opened: Opened) -> None:
    """
    Only what its own tab would let one cancel can be selected, and each is asked for by itself.

    What the question named is cancelled, whatever the list shows by then; a refusal is told at its row.
    """
    cancelled: list[tuple[str, str]] = []
    posted: list[dict[str, str]] = []

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/cancel"):
            cancelled.append((query["map_index"], query["name"]))
            return (409, {"detail": "by now another"}) if query["map_index"] == "2" else {"cancelling": True}
        return running(path, query)

    page = opened(answer, "list")
    page.on("request", lambda request: posted.append(request.headers) if request.method == "POST" else None)
    page.locator("#chosen", has_text="0 selected of the 4").wait_for()
    assert page.locator("#rows input").nth(4).is_disabled()
    assert page.locator("#cancel").is_disabled()
    page.locator("#all").check()
    page.locator("#rows input").nth(0).uncheck()
    page.locator("#chosen", has_text="3 selected of the 4").wait_for()
    page.locator("#cancel").click()
    assert page.locator("#confirm-title").inner_text() == "Cancel these 3 operations?"
    assert page.locator("#confirm-names code").all_inner_texts() == NAMES[1:4]
    page.get_by_role("button", name="Keep them running").press("Enter")
    assert cancelled == []
    page.locator("#cancel").click()
    page.locator("#confirm button[value=yes]").click()
    page.locator(".said", has_text="Not cancelled: by now another").wait_for()
    page.locator(".said", has_text="Cancelling …").nth(1).wait_for()
    assert sorted(cancelled) == [("1", NAMES[1]), ("2", NAMES[2]), ("3", NAMES[3])]
    assert [headers["x-airflow-operations"] for headers in posted] == ["cancel"] * 3


SWEPT = {
    "status": "healthy",
    "last_sweep": "2026-06-01T13:03:00+00:00",
    "looked": 5,
    "cancelled": 2,
    "left": 1,
}
SAID = "Last sweep: 2026-06-01 15:03:00, looked at 5, cancelled 2, 1 left."


@pytest.mark.parametrize(
    ("sweep", "said", "bad"),
    [
        (
            {"status": "never", "last_sweep": None},
            "No sweep has run: what no task can cancel any more goes on.",
            True,
        ),
        ({}, SAID, False),
        (
            {"status": "unhealthy"},
            f"{SAID} No sweep has run since, though one should have.",
            True,
        ),
    ],
    ids=["never", "healthy", "unhealthy"],
)
def test_whether_sweeps_run(opened: Opened, sweep: dict[str, Any], said: str, bad: bool) -> None:
    """A line above every list, red if there is something to be done about it."""
    page = opened(lambda *_: listed([], sweep={**SWEPT, **sweep}), "list")
    page.locator("#sweep", has_text="weep").wait_for()
    assert page.locator("#sweep").inner_text() == said
    assert page.locator("#sweep.bad").count() == bad


def test_where_there_are_no_records(opened: Opened) -> None:
    """There are no sweeps and no orphans, so nothing is said of them."""
    page = opened(lambda *_: listed([], sweep=None), "list")
    page.locator("#notice", has_text="No task waits").wait_for()
    assert page.locator("#sweep").is_hidden()
    assert page.locator("#shows a").all_inner_texts() == ["Running 120", "Failed 3", "All ended 40"]


def orphan_rows(names: list[str], *, show: str = "orphans", **said: Any) -> dict[str, Any]:
    """Return what the app says of orphans: the first was looked at, the second wasn't, the third is a riddle."""
    answer = listed(names, show=show, sweep=SWEPT, **said)
    seen: list[dict[str, Any]] = [
        {"said": "no answer: <b>away</b>", "at": "2026-06-01T13:03:00+00:00"},
        {"said": None, "at": None},
        {"said": "its record can't be read", "at": None},
    ]
    for row, orphan in zip(answer["operations"], seen, strict=False):
        row |= {"orphan": orphan, "result": None, "message": None}
    return answer


def test_orphans_are_shown_and_cancelled(opened: Opened) -> None:
    """With what a sweep saw of each, as text; those that run can be cancelled as others can."""
    cancelled: list[str] = []

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/operations"):
            assert query["show"] == "orphans"
            return orphan_rows([*NAMES[:2], ""], counts={"running": 0, "orphans": 3, "failed": 0, "ended": 0})
        if path.endswith("/cancel"):
            cancelled.append(query["name"])
            return {"cancelling": True}
        if query["map_index"] == "2":
            return {**view("x"), "name": None, "operation": None, "may_cancel": False}
        return view(NAMES[int(query["map_index"])], operation={"percent": 5, "message": "on it"})

    page = opened(answer, "list?show=orphans")
    page.locator("#chosen", has_text="of the 2").wait_for()
    assert page.locator(".swept").all_inner_texts() == [
        "orphan no answer: <b>away</b>, noted 2026-06-01 15:03:00",
        "orphan not looked at since 2026-06-01 15:00:00",
        "orphan its record can't be read, not looked at since 2026-06-01 15:00:00",
    ]
    assert "its name isn't known" in page.locator("#rows tr").nth(2).inner_text()
    assert page.locator(".said").nth(1).inner_text() == "on it"
    heads = [head.inner_text() for head in page.locator("#head th").all()]
    assert "Task Ended ↓" in heads
    page.locator("#rows input").nth(1).check()
    page.locator("#cancel").click()
    page.locator("#confirm button[value=yes]").click()
    page.locator(".said", has_text="Cancelling …").wait_for()
    assert cancelled == [NAMES[1]]


def test_orphans_are_marked_in_other_lists(opened: Opened) -> None:
    """A task that has failed may have left its operation behind."""
    page = opened(lambda *_: orphan_rows(NAMES[:3], show="failed", more_orphans=True), "list?show=failed")
    page.locator("#rows .badge[data-state=orphan]").nth(2).wait_for()
    assert page.locator("#rows input").count() == 0
    assert page.locator("#shows a").nth(1).inner_text() == "Orphans 2 or more"


@pytest.mark.parametrize("width", [600, 1000])
def test_long_notes_wrap(opened: Opened, width: int) -> None:
    """Whatever is noted."""
    rows = orphan_rows(NAMES[:1])
    rows["operations"][0]["orphan"]["said"] = LONG
    page = opened(
        lambda path, _: rows if path.endswith("/operations") else view(NAMES[0]),
        "list?show=orphans",
        viewport={"width": width, "height": 800},
    )
    page.locator(".swept", has_text="word").wait_for()
    assert fits(page)


def test_nothing_is_left_to_cancel(opened: Opened) -> None:
    """When the last operation has ended, the button goes with it."""
    names = NAMES[:1]

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/operations"):
            return listed(names)
        return view(names[0], operation={"message": "on it"})

    page = opened(answer, "list")
    page.locator("#bulk").wait_for()
    names = []
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # not in 15 seconds, but now
    page.locator("#notice", has_text="No task waits for an operation.").wait_for()
    assert page.locator("#bulk").is_hidden()
    assert page.locator("#operations").is_hidden()


def test_what_its_task_has_not_seen(opened: Opened) -> None:
    """An operation that is over stays in the list until its task has noticed; nothing of it is to be cancelled."""

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/operations"):
            return listed(NAMES[:2])
        states = [{"state": "cancelled", "message": "half way"}, {"message": "on it"}]
        index = int(query["map_index"])
        return view(NAMES[index], operation=states[index], may_cancel=index == 1)

    page = opened(answer, "list")
    page.locator("#chosen", has_text="of the 1").wait_for()
    assert page.locator(".said").all_inner_texts() == ["cancelled; the task hasn't seen it yet", "on it"]


def test_a_task_with_another_operation_is_no_longer_selected(opened: Opened) -> None:
    """It was cleared meanwhile: whoever selected the old one has not selected this."""
    names = list(NAMES)

    def answer(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/operations"):
            return listed(names)
        return view(names[int(query["map_index"])], operation={"percent": 5, "message": "on it"})

    page = opened(answer, "list")
    page.locator("#chosen", has_text="of the 5").wait_for()
    page.locator("#rows input").nth(0).check()
    page.locator("#rows input").nth(1).check()
    names[0] = "operations/new"
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # not in 15 seconds, but now
    page.locator("#rows code", has_text="operations/new").wait_for()
    page.locator("#chosen", has_text="1 selected of the 5").wait_for()
    assert [box.is_checked() for box in page.locator("#rows input").all()] == [
        False,
        True,
        False,
        False,
        False,
    ]
