from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.rpc import error_details_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_operations.operation import Code, MalformedOperation, Operation, Progress, Status
from tests.support.json_values import JSON

TYPES = "type.googleapis.com/google.rpc."


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        pytest.param({"name": "operations/x"}, Operation("operations/x"), id="done-left-out-is-false"),
        pytest.param({"name": "operations/x", "done": None}, Operation("operations/x"), id="done-null"),
        pytest.param({"done": True}, Operation("", done=True), id="done-without-name"),
        pytest.param({"name": None, "done": True}, Operation("", done=True), id="name-null"),
        pytest.param({"name": "x", "done": True}, Operation("x", done=True), id="neither-response-nor-error"),
        pytest.param({"name": "x", "metadata": None}, Operation("x"), id="metadata-null"),
        pytest.param(
            {"name": "x", "done": True, "response": {"@type": "t/Empty", "value": {}}},
            Operation("x", done=True, response={"@type": "t/Empty", "value": {}}),
            id="spanner-emulator-empty",
        ),
        pytest.param({"name": "x", "error": None}, Operation("x"), id="error-null"),
        pytest.param(
            {"name": "x", "done": True, "error": {"code": 5}, "response": {"a": 1}},
            Operation("x", done=True, error=Status(Code.NOT_FOUND), response={"a": 1}),
            id="both-error-and-response",
        ),
        pytest.param(
            {"name": "x", "kind": "sql#operation", "selfLink": "y"},
            Operation("x", other={"kind": "sql#operation", "selfLink": "y"}),
            id="unknown-fields-kept",
        ),
        pytest.param({"name": "", "done": False}, Operation(""), id="empty-name"),
        pytest.param(
            {"name": "x", "metadata": "text", "response": [1]},
            Operation("x", metadata="text", response=[1]),
            id="metadata-and-response-of-any-type",
        ),
    ],
)
def test_every_shape_that_servers_send_is_read(sent: object, read: Operation) -> None:
    """Every shape that servers really send is read, and unknown fields are kept."""
    assert Operation.from_json(sent) == read


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param([], "an operation is a JSON object; this is list []", id="list"),
        pytest.param("x", "an operation is a JSON object; this is str 'x'", id="text"),
        pytest.param(None, "an operation is a JSON object; this is NoneType None", id="null"),
        pytest.param({}, "an operation has 'name' or 'done'; this object has nothing", id="empty"),
        pytest.param(
            {"b": 1, "a": 2}, "an operation has 'name' or 'done'; this object has a, b", id="foreign-object"
        ),
        pytest.param(
            {"name": None, "done": None},
            "an operation has 'name' or 'done'; this object has done, name",
            id="both-null",
        ),
        pytest.param({"name": 5}, "an operation's 'name' is text; this is int 5", id="name-number"),
        pytest.param(
            {"name": "x", "done": "true"},
            "an operation's 'done' is true or false; this is str 'true'",
            id="done-text",
        ),
        pytest.param(
            {"name": "x", "done": 1},
            "an operation's 'done' is true or false; this is int 1",
            id="done-number",
        ),
        pytest.param(
            {"name": ["a" * 100]},
            f"an operation's 'name' is text; this is list {repr(['a' * 100])[:57]}...",
            id="long-values-are-cut",
        ),
    ],
)
def test_what_is_no_operation_is_refused(sent: object, text: str) -> None:
    """What isn't an operation is refused, and the text says which field and what stood there."""
    with pytest.raises(MalformedOperation) as refused:
        Operation.from_json(sent)
    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (0, Code.OK),
        (8, Code.RESOURCE_EXHAUSTED),
        (16, Code.UNAUTHENTICATED),
        (17, 17),
        (429, Code.RESOURCE_EXHAUSTED),
        ("503", Code.UNAVAILABLE),
        (418, 418),
        (-1, -1),
        (5.0, Code.NOT_FOUND),
        ("14", Code.UNAVAILABLE),
        ("UNAVAILABLE", Code.UNAVAILABLE),
        ("unavailable", Code.UNAVAILABLE),
        ("quotaExceeded", None),
        (5.5, None),
        (True, None),
        (None, None),
        ([], None),
        ({}, None),
        ("1e999", None),
        ("nan", None),
    ],
    ids=repr,
)
def test_a_code_comes_as_number_text_name_or_http_status(sent: object, code: Code | int | None) -> None:
    """A code comes as number, text, name or HTTP status; unknown numbers stay, anything else is no code."""
    read = Code.parse(sent)
    assert read == code
    assert isinstance(read, Code) == isinstance(code, Code)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        pytest.param({}, Status(Code.UNKNOWN), id="empty-object-is-an-error"),
        pytest.param({"code": 0}, Status(Code.UNKNOWN), id="code-0-is-an-error"),
        pytest.param({"code": 0, "message": "m"}, Status(Code.UNKNOWN, "m"), id="code-0-with-message"),
        pytest.param({"message": "m"}, Status(Code.UNKNOWN, "m"), id="no-code"),
        pytest.param("boom", Status(Code.UNKNOWN, "boom"), id="text"),
        pytest.param(["a"], Status(Code.UNKNOWN, "", ["a"]), id="list"),
        pytest.param(7, Status(Code.UNKNOWN, "", [7]), id="number"),
        pytest.param({"code": 99, "message": "m"}, Status(99, "m"), id="unknown-code-kept"),
        pytest.param({"code": 3, "details": "text"}, Status(Code(3), "", ["text"]), id="details-text"),
        pytest.param({"code": 3, "details": {"a": 1}}, Status(Code(3), "", [{"a": 1}]), id="details-object"),
        pytest.param({"code": 3, "details": None}, Status(Code(3)), id="details-null"),
        pytest.param({"code": 3, "message": None}, Status(Code(3)), id="message-null"),
        pytest.param({"code": 3, "message": {"a": 1}}, Status(Code(3), '{"a": 1}'), id="message-object"),
        pytest.param(
            {"code": 3, "name": "InternalError"},
            Status(Code(3), other={"name": "InternalError"}),
            id="functions-emulator-extra-keys",
        ),
        pytest.param(
            {"code": "E42", "message": "m"},
            Status(Code.UNKNOWN, "m", other={"codeAsSent": "E42"}),
            id="code-that-is-none-kept",
        ),
        pytest.param(
            {"code": 429, "status": "RESOURCE_EXHAUSTED"},
            Status(Code.RESOURCE_EXHAUSTED, other={"status": "RESOURCE_EXHAUSTED", "codeAsSent": 429}),
            id="HTTP-status-and-name",
        ),
        pytest.param(
            {"code": 400, "status": "FAILED_PRECONDITION"},
            Status(Code.FAILED_PRECONDITION, other={"status": "FAILED_PRECONDITION", "codeAsSent": 400}),
            id="name-says-more-than-HTTP-status",
        ),
        pytest.param({"code": 503}, Status(Code.UNAVAILABLE, other={"codeAsSent": 503}), id="HTTP-status"),
        pytest.param(
            {"status": 404}, Status(Code.NOT_FOUND, other={"status": 404}), id="HTTP-status-in-status"
        ),
        pytest.param(
            {"error_code": "NOT_FOUND"},
            Status(Code.NOT_FOUND, other={"error_code": "NOT_FOUND"}),
            id="error_code",
        ),
        pytest.param(
            {"errorCode": "RESOURCE_DOES_NOT_EXIST"},
            Status(Code.UNKNOWN, other={"errorCode": "RESOURCE_DOES_NOT_EXIST"}),
            id="a-name-of-the-vendor",
        ),
        pytest.param(
            {"code": 3, "status": "NOT_FOUND"},
            Status(Code.INVALID_ARGUMENT, other={"status": "NOT_FOUND"}),
            id="a-standard-number-wins",
        ),
        pytest.param(
            {"status": "ABORTED"}, Status(Code.ABORTED, other={"status": "ABORTED"}), id="code-by-name-alone"
        ),
    ],
)
def test_an_error_in_whatever_shape_is_an_error(sent: object, read: Status) -> None:
    """An error in whatever shape is an error: nothing is refused, nothing is dropped."""
    assert Status.from_json(sent) == read


def test_an_empty_error_of_a_done_operation_is_a_failure() -> None:
    """``error: {}`` on a done operation is a failure, not a success (seen on real servers)."""
    assert Operation.from_json({"name": "x", "done": True, "error": {}}).error == Status(Code.UNKNOWN)


ERROR_INFO = {"@type": TYPES + "ErrorInfo", "reason": "NO_CPU", "domain": "d", "metadata": {"zone": "z"}}


def test_find_gives_official_messages() -> None:
    """A detail comes as the official protobuf message of its type, the first one that can be read."""
    bad = {"@type": TYPES + "ErrorInfo", "reason": 5}
    status = Status(Code(8), "", ["text", bad, {"@type": TYPES + "Help"}, ERROR_INFO])
    assert status.find(error_details_pb2.ErrorInfo) == error_details_pb2.ErrorInfo(
        reason="NO_CPU", domain="d", metadata={"zone": "z"}
    )


def test_find_reads_type_url_details() -> None:
    """The ``typeUrl``/``value`` form of the Cloud Functions emulator is read too."""
    detail = {"typeUrl": "types.googleapis.com/google.rpc.DebugInfo", "value": {"detail": "d"}}
    assert Status(13, "", [detail]).find(error_details_pb2.DebugInfo) == error_details_pb2.DebugInfo(
        detail="d"
    )


def test_find_ignores_fields_of_newer_versions() -> None:
    """A field that our protobuf doesn't know yet doesn't hide the detail."""
    status = Status(8, "", [{**ERROR_INFO, "newField": 1}])
    found = status.find(error_details_pb2.ErrorInfo)
    assert found is not None
    assert found.reason == "NO_CPU"


def test_a_detail_that_is_not_there_is_none() -> None:
    """Without such a detail there is None, whatever else is there."""
    assert Status(8, "", [ERROR_INFO, None, 5]).find(error_details_pb2.BadRequest) is None


@given(
    st.lists(JSON | st.dictionaries(st.sampled_from(["retryDelay", "reason", "metadata", "domain"]), JSON))
)
def test_details_of_any_shape(details: list[Any]) -> None:
    """Whatever a server sends as details, asking for them raises nothing."""
    typed = [
        {**detail, "@type": TYPES + name}
        for detail in details
        if isinstance(detail, dict)
        for name in ("ErrorInfo", "RetryInfo")
    ]
    status = Status(8, "", details + typed)
    assert status.retry_delay is None or timedelta() <= status.retry_delay < timedelta(seconds=1e9)
    assert status.reason is None or status.reason
    found = status.find(error_details_pb2.RetryInfo)
    assert found is None or isinstance(found, error_details_pb2.RetryInfo)


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("3.5s", 3.5),
        ("0s", 0.0),
        ("0.000000001s", 0.0),
        ({"seconds": "7", "nanos": 500_000_000}, 7.5),
        ({"seconds": 7}, 7.0),
        ({}, 0.0),
        ("3.5", None),
        ("-1s", None),
        ("s", None),
        (" 1s", None),
        ("1e3s", None),
        (5, None),
        (None, None),
        ("999999999999s", None),
        ({"seconds": -1}, None),
    ],
    ids=repr,
)
def test_retry_info_is_read_in_both_spellings(sent: object, seconds: float | None) -> None:
    """RetryInfo is read in both spellings; what isn't a sensible duration is no hint."""
    delay = Status(14, "", [{"@type": TYPES + "RetryInfo", "retryDelay": sent}]).retry_delay
    assert delay == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_delay_is_the_first_that_can_be_read() -> None:
    """One broken RetryInfo doesn't hide the next."""
    details = [{"@type": TYPES + "RetryInfo", "retryDelay": text} for text in ("soon", "2s", "3s")]
    assert Status(14, "", details).retry_delay == timedelta(seconds=2)


def test_the_reason_is_the_first_error_infos() -> None:
    """The reason is that of the first ErrorInfo that has one."""
    details = [{"@type": TYPES + "ErrorInfo", "reason": reason} for reason in (None, "", 5, "R", "S")]
    assert Status(8, "", details).reason == "R"
    assert Status(8).reason is None


@pytest.mark.parametrize(
    ("metadata", "progress"),
    [
        pytest.param(None, Progress(None, None), id="none"),
        pytest.param("text", Progress(None, None), id="text"),
        pytest.param([], Progress(None, None), id="list"),
        pytest.param({"progressPercent": 42}, Progress(42.0, None), id="progressPercent"),
        pytest.param({"progressPercentage": 42.5}, Progress(42.5, None), id="progressPercentage"),
        pytest.param({"percentComplete": "42"}, Progress(42.0, None), id="int64-comes-as-text"),
        pytest.param({"progress": 42}, Progress(42.0, None), id="progress-number"),
        pytest.param({"progress": "42%"}, Progress(42.0, None), id="progress-text"),
        pytest.param({"progress": "copying"}, Progress(None, "copying"), id="progress-words"),
        pytest.param({"progress": {"progressPercent": 7}}, Progress(7.0, None), id="nested"),
        pytest.param({"progress": {"percentDone": 7}}, Progress(7.0, None), id="percentDone"),
        pytest.param(
            {"progressDocuments": {"completedWork": "1", "estimatedWork": "4"}},
            Progress(25.0, None),
            id="pair-of-text",
        ),
        pytest.param(
            {"progressEntities": {"workCompleted": 1, "workEstimated": 8}},
            Progress(12.5, None),
            id="pair-other-names",
        ),
        pytest.param(
            {"progressPercentage": {"completedWork": "42", "estimatedWork": "100"}},
            Progress(42.0, None),
            id="percentage-that-is-a-pair",
        ),
        pytest.param(
            {"progressDocuments": {"completedWork": "1200"}, "progressBytes": {"workCompleted": "5"}},
            Progress(None, None, "1,200 documents"),
            id="no-estimate-is-a-count",
        ),
        pytest.param(
            {"progressDocuments": {"completedWork": "9", "estimatedWork": "0"}},
            Progress(None, None, "9 documents"),
            id="estimate-0-is-a-count",
        ),
        pytest.param(
            {"progressDocuments": {"completedWork": "9", "estimatedWork": "-1"}},
            Progress(None, None, "9 documents"),
            id="estimate-below-0-is-a-count",
        ),
        pytest.param(
            {
                "progressDocuments": {"completedWork": "9"},
                "progressBytes": {"completedWork": "1", "estimatedWork": "4"},
            },
            Progress(25.0, None),
            id="the-pair-with-an-estimate",
        ),
        pytest.param(
            {"progressDocuments": {"estimatedWork": "9"}}, Progress(0.0, None), id="0-is-left-out-of-JSON"
        ),
        pytest.param(
            {"progressDocuments": {"completedWork": 9, "estimatedWork": 4}},
            Progress(99.0, None),
            id="estimate-exceeded",
        ),
        pytest.param({"progressDocuments": {"completedWork": -9}}, Progress(None, None), id="count-below-0"),
        pytest.param(
            {"progressDocuments": {"completedWork": 10**300}}, Progress(None, None), id="count-beyond-int64"
        ),
        pytest.param({"progressDocuments": "9"}, Progress(None, None), id="pair-that-is-text"),
        pytest.param(
            {"completedAnalysesCount": 3, "totalRequestedAnalysesCount": 4, "failedAnalysesCount": 1},
            Progress(75.0, None),
            id="completed-of-total",
        ),
        pytest.param(
            {"successCount": "3", "failureCount": "1"}, Progress(None, None, "3 succeeded"), id="count"
        ),
        pytest.param(
            {"totalCount": "4", "failureCount": "1", "failedFileCount": 2},
            Progress(None, None),
            id="failures-are-no-progress",
        ),
        pytest.param({"counter": {"failure": "7"}}, Progress(None, None), id="nested-failures-neither"),
        pytest.param(
            {"annotationProgress": [{"progressPercent": 50}, {"progressPercent": 100}]},
            Progress(75.0, None),
            id="array-mean",
        ),
        pytest.param(
            {"progress": [{"progressPercent": 90}, {}, "x"]}, Progress(30.0, None), id="silent-parts-are-0"
        ),
        pytest.param({"progress": []}, Progress(None, None), id="empty-array"),
        pytest.param({"progress": [1, 2]}, Progress(None, None), id="array-of-numbers"),
        pytest.param({"progress": [{}]}, Progress(None, None), id="array-that-says-nothing"),
        pytest.param({"progressPercent": 150}, Progress(99.0, None), id="above-100"),
        pytest.param({"progressPercent": 100}, Progress(99.0, None), id="100-before-it-is-done"),
        pytest.param({"progressPercent": "9" * 10_000_000}, Progress(None, None), id="endless-number"),
        pytest.param({"progressPercent": -1}, Progress(0.0, None), id="below-0"),
        pytest.param({"progressPercent": True}, Progress(None, None), id="bool-is-no-number"),
        pytest.param({"progressPercent": "inf"}, Progress(None, None), id="infinite"),
        pytest.param({"progressPercent": 10**400}, Progress(None, None), id="beyond-float"),
        pytest.param({"progressPercent": None, "progress": 3}, Progress(3.0, None), id="null-then-next"),
        pytest.param({"statusMessage": " copying "}, Progress(None, "copying"), id="statusMessage"),
        pytest.param({"statusDetail": "a", "statusMessage": "b"}, Progress(None, "b"), id="first-key-wins"),
        pytest.param({"statusMessage": "", "statusDetail": "a"}, Progress(None, "a"), id="empty-is-skipped"),
        pytest.param({"ephemeralMessage": "m"}, Progress(None, "m"), id="ephemeralMessage"),
        pytest.param({"stateMessage": "m"}, Progress(None, "m"), id="stateMessage"),
        pytest.param({"progressMessage": ["a", "b"]}, Progress(None, None), id="no-service-has-a-history"),
        pytest.param({"operationState": "PROCESSING"}, Progress(None, "PROCESSING"), id="operationState"),
        pytest.param({"common": {"state": "PROCESSING"}}, Progress(None, "PROCESSING"), id="common.state"),
        pytest.param({"build": {"status": "WORKING"}}, Progress(None, "WORKING"), id="build.status"),
        pytest.param(
            {"status": {"state": "RUNNING"}, "description": "Create cluster"},
            Progress(None, "RUNNING"),
            id="state-before-description",
        ),
        pytest.param({"status": {"message": "m"}}, Progress(None, None), id="a-status-of-errors"),
        pytest.param(
            {"state": "STATE_UNSPECIFIED", "verb": "create"}, Progress(None, "create"), id="no-state"
        ),
        pytest.param(
            {
                "stages": [
                    {"state": "COMPLETE", "message": "a"},
                    {"state": "IN_PROGRESS", "message": "b"},
                    {"state": "NOT_STARTED", "message": "c"},
                ]
            },
            Progress(None, "b"),
            id="stage-under-way",
        ),
        pytest.param(
            {"stages": [{"state": [1]}, None, 5, {}]}, Progress(None, None), id="stages-of-anything"
        ),
        pytest.param({"statusMessage": "42"}, Progress(None, "42"), id="message-of-digits"),
        pytest.param({"statusMessage": "m" * 10_000_000}, Progress(None, "m" * 16_000), id="endless-message"),
        pytest.param({"statusMessage": " " * 10_000_000 + "m"}, Progress(None, None), id="endless-blanks"),
        pytest.param({"description": "m"}, Progress(None, "m"), id="description"),
        pytest.param(
            {"state": "RUNNING", "verb": "create"}, Progress(None, "RUNNING"), id="state-before-verb"
        ),
        pytest.param({"verb": "create"}, Progress(None, "create"), id="verb"),
        pytest.param({"statusMessage": 5}, Progress(None, None), id="message-number"),
        pytest.param(
            {"typeUrl": "t/M", "value": {"progressPercent": 5}}, Progress(5.0, None), id="typeUrl-metadata"
        ),
        pytest.param({"typeUrl": "t/M", "value": "CgA="}, Progress(None, None), id="typeUrl-bytes"),
    ],
)
def test_progress_is_found_where_googles_apis_have_it(metadata: Any, progress: Progress) -> None:
    """Percent and message are found where the census of Google's APIs found them, traps included."""
    assert Operation("x", metadata=metadata).progress == progress


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(42.0, "copying"), "42 %, copying"),
        (Progress(12.3456, None), "12.35 %"),
        (Progress(0.0, None), "0 %"),
        (Progress(None, "copying"), "copying"),
        (Progress(None, "copying", "12 documents"), "12 documents, copying"),
        (Progress(None, None, "12 documents"), "12 documents"),
        (Progress(None, None), ""),
    ],
    ids=repr,
)
def test_progress_as_text(progress: Progress, text: str) -> None:
    """Progress reads as one short line, empty when nothing is known."""
    assert str(progress) == text


def test_100_percent_once_it_is_done() -> None:
    """Of one that failed, too: what is left to do is nothing."""
    assert Operation("x", done=True, metadata={"progressPercent": 100}).progress == Progress(100.0, None)


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        pytest.param(None, Progress(10.0, "b"), Progress(10.0, "b"), id="first"),
        pytest.param(Progress(None, "a"), Progress(10.0, "b"), Progress(10.0, "b"), id="none-before"),
        pytest.param(Progress(20.0, "a"), Progress(30.0, "b"), Progress(30.0, "b"), id="more"),
        pytest.param(Progress(20.0, "a"), Progress(10.0, "b"), Progress(20.0, "b"), id="less"),
        pytest.param(
            Progress(20.0, "a"),
            Progress(None, "b", "9 bytes"),
            Progress(20.0, "b", "9 bytes"),
            id="no-estimate-now",
        ),
    ],
)
def test_percent_never_falls(before: Progress | None, now: Progress, shown: Progress) -> None:
    """Where who reads it remembers; the message is always the new one."""
    assert now.no_less_than(before) == shown


@given(JSON)
@example({"name": "x", "error": {"code": 0, "status": "x", "codeAsSent": 1}})
@example({"name": "x", "error": {"code": [1], "message": {}}})
def test_any_json_is_an_operation_or_malformed(value: Any) -> None:
    """Any JSON is an operation, whose JSON reads back as the same, or MalformedOperation; never another end."""
    try:
        operation = Operation.from_json(value)
    except MalformedOperation:
        return
    assert Operation.from_json(operation.to_json()) == operation
    percent, message, counted = operation.progress
    assert percent is None or 0 <= percent <= (100 if operation.done else 99)
    assert message is None or message
    assert counted is None or percent is None


@given(
    st.fixed_dictionaries(
        {"name": st.text()},
        optional={
            "done": st.booleans(),
            "metadata": JSON,
            "response": JSON,
            "error": JSON
            | st.fixed_dictionaries(
                {},
                optional={
                    "code": JSON | st.integers(-1, 20),
                    "message": JSON,
                    "details": JSON,
                    "status": JSON,
                },
            ),
            "other": JSON,
        },
    )
)
def test_an_operation_survives_its_own_json(value: dict[str, Any]) -> None:
    """An operation survives its own JSON unchanged, unknown fields and odd errors included."""
    operation = Operation.from_json(value)
    assert Operation.from_json(operation.to_json()) == operation


@given(JSON)
def test_a_status_survives_its_own_json(value: Any) -> None:
    """Any JSON is a Status that survives its own JSON."""
    status = Status.from_json(value)
    assert status.code != Code.OK
    assert Status.from_json(status.to_json()) == status


@pytest.mark.parametrize(
    ("code", "name"), [(Code.ABORTED, "ABORTED (10)"), (99, "code 99"), (Code.UNKNOWN, "UNKNOWN (2)")]
)
def test_a_code_is_shown_by_name_and_number(code: Code | int, name: str) -> None:
    """A code is shown by name and number, an unknown one by its number."""
    assert Status(code).code_name == name
