from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from airflow_provider_operations._protocol.rendering import MAX_TEXT_CHARS, clip, printable, render_status
from airflow_provider_operations.operation import Code, Status
from tests.support.json_values import JSON

TYPES = "type.googleapis.com/google.rpc."


def lines_of(*details: Any) -> list[str]:
    """Render a Status with these details; without its first line."""
    return render_status(Status(Code.ABORTED, "m", list(details))).split("\n")[1:]


@pytest.mark.parametrize(
    ("detail", "lines"),
    [
        pytest.param(
            {
                "@type": TYPES + "ErrorInfo",
                "reason": "NO_CPU",
                "domain": "compute.googleapis.com",
                "metadata": {"zone": "z1", "tries": 3},
            },
            ["  ErrorInfo: NO_CPU (compute.googleapis.com)", "    zone: z1", "    tries: 3"],
            id="ErrorInfo",
        ),
        pytest.param({"@type": TYPES + "ErrorInfo", "reason": "R"}, ["  ErrorInfo: R"], id="ErrorInfo-short"),
        pytest.param(
            {
                "@type": TYPES + "BadRequest",
                "fieldViolations": [
                    {"field": "a.b", "description": "too long", "reason": "LONG"},
                    {"field": "c", "localizedMessage": {"locale": "de", "message": "zu kurz"}},
                ],
            },
            ["  BadRequest:", "    a.b: too long [LONG]", "    c: zu kurz"],
            id="BadRequest",
        ),
        pytest.param(
            {
                "@type": TYPES + "QuotaFailure",
                "violations": [{"subject": "project:p", "description": "CPUs used up", "quotaId": "CPU"}],
            },
            ["  QuotaFailure:", '    project:p: CPUs used up (more: {"quotaId": "CPU"})'],
            id="QuotaFailure",
        ),
        pytest.param(
            {
                "@type": TYPES + "PreconditionFailure",
                "violations": [{"type": "TOS", "subject": "google.com/cloud", "description": "not accepted"}],
            },
            ["  PreconditionFailure:", "    TOS google.com/cloud: not accepted"],
            id="PreconditionFailure",
        ),
        pytest.param(
            {
                "@type": TYPES + "ResourceInfo",
                "resourceType": "disk",
                "resourceName": "d1",
                "owner": "user:o",
                "description": "in use",
            },
            ["  ResourceInfo: disk d1, owner user:o: in use"],
            id="ResourceInfo",
        ),
        pytest.param({"@type": TYPES + "ResourceInfo"}, ["  ResourceInfo:"], id="ResourceInfo-empty"),
        pytest.param(
            {"@type": TYPES + "Help", "links": [{"description": "Quotas", "url": "https://q"}]},
            ["  Help:", "    Quotas: https://q"],
            id="Help",
        ),
        pytest.param(
            {"@type": TYPES + "LocalizedMessage", "locale": "de", "message": "Kaputt"},
            ["  LocalizedMessage (de): Kaputt"],
            id="LocalizedMessage",
        ),
        pytest.param(
            {"@type": TYPES + "RequestInfo", "requestId": "r1", "servingData": "s"},
            ["  RequestInfo: r1, serving data s"],
            id="RequestInfo",
        ),
        pytest.param(
            {"@type": TYPES + "RetryInfo", "retryDelay": "3.5s"},
            ["  RetryInfo: try again after 3.5s"],
            id="RetryInfo",
        ),
        pytest.param(
            {"@type": TYPES + "RetryInfo"},
            ["  RetryInfo: try again after an unknown time"],
            id="RetryInfo-empty",
        ),
        pytest.param(
            {"@type": TYPES + "DebugInfo", "detail": "d", "stackEntries": ["a.py:1", 2]},
            ["  DebugInfo: d", "    a.py:1", "    2"],
            id="DebugInfo",
        ),
        pytest.param(
            {"typeUrl": "types.googleapis.com/google.rpc.ErrorInfo", "value": {"reason": "R"}},
            ["  ErrorInfo: R"],
            id="typeUrl",
        ),
        pytest.param(
            {"@type": "type.googleapis.com/my.Detail", "a": [1]},
            ['  my.Detail: {"a": [1]}'],
            id="unknown-type",
        ),
        pytest.param(
            {"@type": TYPES + "Newcomer", "a": 1},
            ['  google.rpc.Newcomer: {"a": 1}'],
            id="unknown-google-type",
        ),
        pytest.param(
            {"@type": "x/other.rpc.ErrorInfo", "reason": "R"},
            ['  other.rpc.ErrorInfo: {"reason": "R"}'],
            id="same-name-other-package",
        ),
        pytest.param({"@type": "x/my.Empty"}, ['  my.Empty: {"@type": "x/my.Empty"}'], id="type-alone"),
        pytest.param({"a": 1}, ['  {"a": 1}'], id="no-type"),
        pytest.param("text", ['  "text"'], id="text"),
        pytest.param(None, ["  null"], id="null"),
        pytest.param(
            {"@type": TYPES + "ErrorInfo", "reason": 5},
            ['  google.rpc.ErrorInfo: {"reason": 5}'],
            id="malformed-scalar",
        ),
        pytest.param(
            {"@type": TYPES + "BadRequest", "fieldViolations": ["x"]},
            ['  google.rpc.BadRequest: {"fieldViolations": ["x"]}'],
            id="malformed-item",
        ),
        pytest.param(
            {"@type": TYPES + "Help", "links": {"a": 1}},
            ['  google.rpc.Help: {"links": {"a": 1}}'],
            id="malformed-list",
        ),
        pytest.param(
            {"@type": TYPES + "ErrorInfo", "metadata": "m"},
            ['  google.rpc.ErrorInfo: {"metadata": "m"}'],
            id="malformed-mapping",
        ),
        pytest.param(
            {"typeUrl": "t/google.rpc.ErrorInfo", "value": "CgVIRUxMTw=="},
            ['  google.rpc.ErrorInfo: {"typeUrl": "t/google.rpc.ErrorInfo", "value": "CgVIRUxMTw=="}'],
            id="typeUrl-with-bytes",
        ),
        pytest.param(
            {"typeUrl": "t/google.rpc.ErrorInfo", "value": {"reason": "R"}, "n": 1},
            [
                '  google.rpc.ErrorInfo: {"typeUrl": "t/google.rpc.ErrorInfo", "value": {"reason": "R"}, "n": 1}'
            ],
            id="typeUrl-with-more-beside",
        ),
    ],
)
def test_each_standard_detail_reads_as_text(detail: Any, lines: list[str]) -> None:
    """Each standard detail reads as text; unknown and malformed ones are shown as the JSON that came."""
    assert lines_of(detail) == lines


def test_debug_info_comes_last() -> None:
    """Stack traces stand behind everything else, the order is otherwise the server's."""
    debug = {"@type": TYPES + "DebugInfo", "detail": "d"}
    assert lines_of(debug, {"b": 1}, {"a": 1}) == ['  {"b": 1}', '  {"a": 1}', "  DebugInfo: d"]


def test_first_line_and_other_fields() -> None:
    """Code by name and number, message, and what stood beside them."""
    assert render_status(Status(Code.ABORTED)) == "ABORTED (10): (no message)"
    assert render_status(Status(99, "m", [], {"errors": [1]})) == 'code 99: m\n  also sent: {"errors": [1]}'


def test_lines_of_a_message_cannot_pass_for_details() -> None:
    """A message of several lines is indented, so it forges neither a detail nor a log line."""
    assert render_status(Status(Code.ABORTED, "a\nERROR forged")) == "ABORTED (10): a\n    ERROR forged"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb", "a\\x0db"),
        ("a\r\nb", "a\nb"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u202eb\u2066", "a\\x202eb\\x2066"),
        ("a\u2028b", "a\\x2028b"),
        ("\x85", "\\x85"),
        ("\ud800", "\\xd800"),
        ("größe 😀", "größe 😀"),
    ],
    ids=ascii,
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    """Terminal escapes, forged lines and bidi overrides are shown, not obeyed; newline and tab stay."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [("abc", 3, "abc"), ("abcd", 3, "abc … (1 more characters)"), ("", 0, "")],
)
def test_a_clipped_text_says_how_much_is_missing(text: str, limit: int, clipped: str) -> None:
    """A text at the limit is whole; a longer one says how much is missing."""
    assert clip(text, limit) == clipped


def test_a_huge_status_is_clipped() -> None:
    """A message of megabytes doesn't become a log line of megabytes."""
    text = render_status(Status(Code.ABORTED, "x" * 1_000_000))
    assert text.startswith("ABORTED (10): xxx")
    assert text.endswith(f" … ({1_000_000 + len('ABORTED (10): ') - MAX_TEXT_CHARS} more characters)")


@given(JSON)
def test_any_status_renders(value: Any) -> None:
    """Any Status becomes text of bounded length without control characters."""
    text = render_status(Status.from_json(value))
    assert len(text) <= MAX_TEXT_CHARS + 50
    assert printable(text) == text
