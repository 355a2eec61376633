"""What the browser gets to show of an operation and its error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_operations.operation import Code, Operation, Status
from airflow_provider_operations.ui.views import shown_operation, shown_status, web_link

T = "type.googleapis.com/google.rpc."


@pytest.mark.parametrize(
    ("operation", "state"),
    [
        pytest.param({"name": "x"}, "running", id="running"),
        pytest.param({"name": "x", "done": True, "response": {}}, "succeeded", id="succeeded"),
        pytest.param({"name": "x", "done": True, "error": {"code": 1}}, "cancelled", id="cancelled"),
        pytest.param({"name": "x", "done": True, "error": {}}, "failed", id="failed"),
    ],
)
def test_the_state_is_one_word(operation: dict[str, Any], state: str) -> None:
    """Running, succeeded, cancelled by code 1, else failed."""
    assert shown_operation(Operation.from_json(operation))["state"] == state


def test_the_response_is_not_shown() -> None:
    """It is the task's return value, which has rules of its own on who may read it."""
    shown = shown_operation(Operation.from_json({"name": "x", "done": True, "response": {"key": "s3cret"}}))
    assert "s3cret" not in json.dumps(shown)


def test_times_are_read_only_where_they_are_times() -> None:
    """``startTime`` before ``createTime``; what isn't a point in time is left to the metadata."""
    metadata = {
        "createTime": "2026-01-01T00:00:00Z",
        "startTime": "soon",
        "endTime": "2026-01-01T00:00:01.5Z",
    }
    shown = shown_operation(Operation("x", done=True, metadata=metadata))
    assert (shown["started"], shown["ended"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z")
    assert shown_operation(Operation("x", metadata=metadata))["ended"] is None


def test_control_characters_are_neutralised_everywhere() -> None:
    """In names, messages, keys, values and details: a bidi override can't reorder what is read."""
    evil = "a\u202eb\x1b"
    operation = Operation(
        evil, done=True, metadata={evil: [evil], "state": evil}, error=Status(9, evil, [{evil: evil}])
    )
    shown = json.dumps(shown_operation(operation), ensure_ascii=False)
    assert not any(character in shown for character in "\u202e\x1b")
    assert "\\u001b" not in shown


@pytest.mark.parametrize(
    ("detail", "section"),
    [
        pytest.param(
            {"@type": T + "BadRequest", "fieldViolations": [{"field": "a", "description": "b", "hint": 1}]},
            {
                "title": "BadRequest",
                "table": {"columns": ["field", "description", "hint"], "rows": [["a", "b", "1"]]},
                "facts": [],
            },
            id="field violations",
        ),
        pytest.param(
            {
                "@type": T + "ErrorInfo",
                "reason": "R",
                "domain": "d",
                "metadata": {"region": "r"},
                "more": [1],
            },
            {
                "title": "ErrorInfo",
                "facts": [["reason", "R"], ["domain", "d"], ["region", "r"], ["more", "[1]"]],
            },
            id="reason",
        ),
        pytest.param(
            {
                "@type": T + "Help",
                "links": [
                    {"description": "good", "url": "https://a.example/x"},
                    {"description": "bad", "url": "javascript:alert(1)"},
                ],
            },
            {
                "title": "Help",
                "table": {
                    "columns": ["description", "url"],
                    "rows": [
                        ["good", {"url": "https://a.example/x", "text": "https://a.example/x"}],
                        ["bad", "javascript:alert(1)"],
                    ],
                },
                "facts": [],
            },
            id="links",
        ),
        pytest.param(
            {"@type": T + "DebugInfo", "stackEntries": ["a", "b"], "detail": "d"},
            {"title": "DebugInfo", "facts": [["detail", "d"], ["stackEntries", "a\nb"]]},
            id="stack",
        ),
        pytest.param(
            {"@type": T + "BadRequest", "fieldViolations": "none"},
            {"title": "google.rpc.BadRequest", "json": {"fieldViolations": "none"}},
            id="not as promised",
        ),
        pytest.param(
            {"@type": "x.example/acme.Odd", "a": 1},
            {"title": "acme.Odd", "json": {"a": 1}},
            id="unknown type",
        ),
        pytest.param("text", {"title": "Detail", "json": "text"}, id="no type"),
        pytest.param(
            {"typeUrl": T + "ErrorInfo", "value": "CgNmb28="},
            {"title": "google.rpc.ErrorInfo", "json": {"typeUrl": T + "ErrorInfo", "value": "CgNmb28="}},
            id="bytes",
        ),
        pytest.param(
            {"typeUrl": "x/y.Z", "value": {"a": 1}, "beside": 2},
            {"title": "y.Z", "json": {"typeUrl": "x/y.Z", "value": {"a": 1}, "beside": 2}},
            id="keys beside the value",
        ),
        pytest.param(
            {"@type": T + "ErrorInfo", "reason": "R", "metadata": {"reason": "r", "zone": "a"}, "zone": "b"},
            {
                "title": "ErrorInfo",
                "facts": [["reason", "R"], ["reason", "r"], ["zone", "a"], ["zone", "b"]],
            },
            id="metadata of the same name",
        ),
    ],
)
def test_a_detail_is_shown_by_its_type(detail: Any, section: dict[str, Any]) -> None:
    """Known types as facts or a table, with whatever else they hold; others as they came."""
    assert shown_status(Status(9, "m", [detail]))["sections"] == [section]


def test_debug_info_comes_last_and_nothing_is_dropped() -> None:
    """Each detail has its section, and what a server sends beside them too."""
    details = [{"@type": T + "DebugInfo", "detail": "d"}, {"@type": T + "RetryInfo", "retryDelay": "3s"}]
    shown = shown_status(Status(Code.RESOURCE_EXHAUSTED, "", details, {"errors": [1]}))
    assert [section["title"] for section in shown["sections"]] == ["RetryInfo", "DebugInfo", "Also sent"]
    assert (shown["code"], shown["message"]) == ("RESOURCE_EXHAUSTED (8)", "(no message)")


def test_what_is_too_large_is_left_out_and_says_so() -> None:
    """A service's megabytes don't hold up a browser."""
    huge = {"@type": "x/y.Z", "data": "x" * 300_000}
    assert shown_operation(Operation("x", metadata=huge))["metadata"].startswith("left out: 3000")
    assert shown_status(Status(9, "", [huge]))["sections"][0]["json"].startswith("left out: 3000")
    assert len(shown_status(Status(9, "x" * 100_000))["message"]) < 17_000


def test_many_details_are_left_out_and_counted() -> None:
    """Millions of empty details, a few bytes each, don't become hundreds of megabytes."""
    sections = shown_status(Status(9, "", [{}] * 100_000))["sections"]
    assert (len(sections), sections[-1]["json"]) == (101, "left out: 99900 details")
    large = {"@type": "x/y.Z", "data": "x" * 150_000}
    sections = shown_status(Status(9, "", [large] * 10))["sections"]
    assert [isinstance(section["json"], dict) for section in sections] == [True] * 6 + [False] * 4
    assert sections[-1] == {"title": "y.Z", "json": "left out: 150030 characters"}


def test_a_table_has_no_more_cells_than_fit() -> None:
    """Rows that have no column in common make a table of the square of their number: shown as they came."""
    rows = [{f"k{number}": 1} for number in range(2000)]
    (section,) = shown_status(Status(9, "", [{"@type": T + "QuotaFailure", "violations": rows}]))["sections"]
    assert section == {"title": "google.rpc.QuotaFailure", "json": {"violations": rows}}


def test_secrets_are_hidden_before_text_is_cut() -> None:
    """Half a secret at the end of what is shown is still half a secret."""
    text = "x" * 1996 + "s3cret"

    def hide(value: Any) -> Any:
        return json.loads(json.dumps(value).replace("s3cret", "***"))

    details = [{"@type": T + "ErrorInfo", "reason": "s3cret", "metadata": {"s3cret": "s3cret"}}, "s3cret"]
    operation = Operation(
        text,
        done=True,
        metadata={"statusMessage": text},
        error=Status(9, text, details, {"errors": ["s3cret"]}),
    )
    shown = json.dumps(shown_operation(operation, hide))
    assert "s3cr" not in shown
    assert shown.count("***") == 9


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/",
        "https:///x",
        "https://user@evil.example/",
        "https://a.example/\u202e",
        "https://a.example/ b",
        "https:\\\\evil.example",
        "https://[::1",
        " https://a.example",
        None,
        "https://a.example/" + "x" * 3000,
    ],
)
def test_only_plain_web_addresses_are_links(url: Any) -> None:
    """Anything that runs, hides where it leads, or can't be read stays text."""
    assert web_link(url) is None
    assert web_link("https://a.example/x?y=z#w") == "https://a.example/x?y=z#w"
