from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.emulator.errors import ApiError
from airflow_provider_operations.emulator.script import METADATA, STRUCT, Record, Script, timestamp
from tests.support.raw_requests import call

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator

START = 1_700_000_000.0


def record(script: dict[str, Any], cancelled_at: float | None = None) -> Record:
    cancelled = None if cancelled_at is None else START + cancelled_at
    return Record(1, "operations/x", json.dumps(script), "things", "run", START, cancelled)


@pytest.mark.parametrize(
    ("script", "cancelled_at", "at", "expected"),
    [
        pytest.param({}, None, 0.999, {"done": False}, id="default-runs-one-second"),
        pytest.param(
            {},
            None,
            1.0,
            {
                "done": True,
                "response": {
                    "@type": STRUCT,
                    "value": {"operation": "operations/x", "target": "things", "verb": "run"},
                },
            },
            id="default-response",
        ),
        pytest.param(
            {"duration": 0, "response": {"a": 1}}, None, 0, {"done": True, "response": {"a": 1}}, id="at-once"
        ),
        pytest.param({"error": {"code": 8}}, None, 1, {"done": True, "error": {"code": 8}}, id="error"),
        pytest.param({"result": "none"}, None, 1, {"done": True}, id="neither-response-nor-error"),
        pytest.param(
            {"result": "none", "raw": {"error": {}, "metadata": None}},
            None,
            1,
            {"done": True, "error": {}, "metadata": None},
            id="raw-overrides-once-done",
        ),
        pytest.param({"raw": {"done": "yes"}}, None, 0.5, {"done": False}, id="raw-waits-until-done"),
        pytest.param({"duration": 9}, 1, 3.9, {"done": False}, id="cancelled-runs-for-the-delay"),
        pytest.param(
            {"duration": 9},
            1,
            4,
            {"done": True, "error": {"code": 1, "message": "Operation was cancelled"}},
            id="cancelled-after-default-delay",
        ),
        pytest.param(
            {"duration": 2, "cancelDelay": 5},
            1,
            3,
            {"done": False},
            id="cancelled-outlives-its-own-duration",
        ),
        pytest.param(
            {"duration": 2, "cancelDelay": 0, "response": {}},
            1,
            1,
            {"done": True, "error": {"code": 1, "message": "Operation was cancelled"}},
            id="cancelled-without-delay",
        ),
    ],
)
def test_state_is_a_function_of_script_and_time(
    script: dict[str, Any], cancelled_at: float | None, at: float, expected: dict[str, Any]
) -> None:
    """What an operation looks like depends on its script, its cancellation and the time, on nothing else."""
    resource = record(script, cancelled_at).resource(START + at)
    metadata = resource.pop("metadata")
    if "metadata" in expected:
        assert metadata == expected["metadata"]
        expected = {key: value for key, value in expected.items() if key != "metadata"}
    assert resource == {"name": "operations/x", **expected}


@pytest.mark.parametrize(
    ("at", "progress"), [(0, None), (0.5, 10), (1.99, 10), (2, 60), (2.9, 60), (3, 60), (99, 60)]
)
def test_steps_merge_into_metadata_until_the_end(at: float, progress: int | None) -> None:
    """A step takes effect at its second, in order of time, and none after the operation is over."""
    steps = [
        {"at": 5, "metadata": {"progressPercent": 99}},
        {"at": 2, "metadata": {"progressPercent": 60}},
        {"at": 0.5, "metadata": {"progressPercent": 10}},
    ]
    metadata = record({"duration": 3, "steps": steps, "metadata": {"kept": 1}}).resource(START + at)[
        "metadata"
    ]
    assert metadata.get("progressPercent") == progress
    assert metadata["kept"] == 1


def test_default_metadata() -> None:
    """The fields are where services put them, once."""
    fields = {
        "createTime": "2023-11-14T22:13:20.000000Z",
        "target": "things",
        "verb": "run",
        "requestedCancellation": False,
    }
    assert record({}).resource(START)["metadata"] == {"@type": METADATA, **fields}


def test_metadata_of_a_scripted_type() -> None:
    """A script may name its own metadata type."""
    metadata = record({"metadata": {"@type": "example.com/My"}}).resource(START)["metadata"]
    assert metadata["@type"] == "example.com/My"
    assert "value" not in metadata


def test_metadata_tells_of_cancellation_and_end() -> None:
    """``requestedCancellation`` shows at once, ``endTime`` is when the operation really ended."""
    cancelled = record({"duration": 9, "cancelDelay": 2}, cancelled_at=1)
    running = cancelled.resource(START + 1)["metadata"]
    assert running["requestedCancellation"] is True
    assert "endTime" not in running
    assert cancelled.resource(START + 500)["metadata"]["endTime"] == timestamp(START + 3)


def test_name_can_be_left_out() -> None:
    """``omitName`` gives the answer of a server that doesn't name its operations."""
    assert "name" not in record({"omitName": True}).resource(START)


def test_operation_may_outlive_the_calendar() -> None:
    """A duration that ends after the year 9999 is answered like any other."""
    assert record({"duration": 1e15}).resource(START)["done"] is False
    assert timestamp(START + 1e15) == "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("script", "field", "text"),
    [
        ({"durration": 1}, "operation.durration", "unknown key; allowed: duration, steps"),
        ({"duration": "1s"}, "operation.duration", "must be seconds"),
        ({"duration": True}, "operation.duration", "must be seconds"),
        ({"duration": -1}, "operation.duration", "must be seconds"),
        ({"steps": [{"at": 1}]}, "operation.steps", "must be a list of"),
        ({"onCancel": "never"}, "operation.onCancel", 'must be "cancel" or "unimplemented" or "ignore"'),
        ({"result": {}}, "operation.result", 'must be "none"'),
        ({"name": "/operations/x"}, "operation.name", "without a leading slash"),
        ({"response": {}, "error": {}}, "operation.error", "not together with response"),
        ({"response": {}, "result": "none"}, "operation.result", "not together with response"),
    ],
)
def test_mistakes_in_a_script_are_named(script: dict[str, Any], field: str, text: str) -> None:
    """A bad script is refused with the key at fault and what is allowed there."""
    with pytest.raises(ApiError) as refused:
        Script.from_json(script, "operation")
    (violation,) = refused.value.violations
    assert violation.field == field
    assert text in violation.description


def test_a_start_without_a_script_takes_the_next_one(emulator: Emulator) -> None:
    """Tests of real requests say beforehand what becomes of them; a script in the request goes before."""
    emulator.script_operation(duration=0, response={"a": 1})
    emulator.script_operation(duration=0, error={"code": 8}, name="operations/second")

    own = call(emulator.url, "POST", "/v1/jobs", {"operation": {"duration": 0, "response": {"own": 1}}}).body
    first = call(emulator.url, "POST", "/v1/projects/p/jobs", {"displayName": "x", "name": "y"}).body
    second = call(emulator.url, "POST", "/v1/projects/p/jobs", {}).body
    third = call(emulator.url, "POST", "/v1/projects/p/jobs", {"displayName": "x"}).body

    assert (own["response"], first["response"]) == ({"own": 1}, {"a": 1})
    assert (second["name"], second["error"]) == ("operations/second", {"code": 8})
    assert third["done"] is False


def test_scripts_are_checked_and_forgotten(emulator: Emulator) -> None:
    """A bad script is refused where it is given; a reset drops those that nobody has taken."""
    with pytest.raises(ValueError, match="respons"):
        emulator.script_operation(respons={})
    emulator.script_operation(duration=0)
    emulator.reset()
    assert call(emulator.url, "POST", "/v1/jobs", {}).body["done"] is False
