from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._airflow.xcom import MAX_OPERATION_CHARS, operation_xcom, storable
from airflow_provider_operations._protocol.rendering import each_text
from airflow_provider_operations.operation import Code, Operation, Status
from tests.support.json_values import JSON
from tests.versions import deserialize, serialize


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ([1, "a", 2.5, True], [1, "a", 2.5, True]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"__id__": 1}, {"\\__id__": 1}),
        ({"__classname__": "os.system"}, {"\\__classname__": "os.system"}),
        ({"__type": "x", "__var": "y"}, {"\\__type": "x", "__var": "y"}),
        ([{"a": [{"__id__": 1}]}], [{"a": [{"\\__id__": 1}]}]),
        ("__id__", "__id__"),
        (
            [float("nan"), {"__id__": float("inf")}, -float("inf")],
            ["NaN", {"\\__id__": "Infinity"}, "-Infinity"],
        ),
        ([2**63 - 1, -(2**63), True], [2**63 - 1, -(2**63), True]),
        ([2**63, -(2**63) - 1], ["9223372036854775808", "-9223372036854775809"]),
        ({"a\0": "\0b", "\ud800": "\udfff\u00e4"}, {"a\\x00": "\\x00b", "\\ud800": "\\udfff\u00e4"}),
    ],
    ids=repr,
)
def test_keys_that_mean_something_to_airflow_are_escaped(value: Any, stored: Any) -> None:
    """
    Keys that mean something to Airflow get a backslash, at any depth; what no channel or database takes is written
    out; all else stays as it is.
    """
    assert storable(value) == stored


ANYTHING = JSON | st.floats() | st.text(st.characters(codec=None))


@given(ANYTHING)
def test_any_channel_and_database_takes_it(value: Any) -> None:
    """No NUL, no half of a character, no number that JSON lacks, no integer of more than 64 bits is left."""
    stored = storable({"a": [value], str(value): value})
    text = json.dumps(stored, allow_nan=False, ensure_ascii=False)
    text.encode()
    json.loads(text, parse_int=lambda digits: int(digits).to_bytes(8, "big", signed=True))
    texts: list[str] = []
    each_text(texts.append, stored)
    assert not any("\0" in each for each in texts)


@given(ANYTHING)
def test_airflow_stores_what_is_storable(value: Any) -> None:
    """Whatever a server sent comes out of Airflow's serializer as it went in."""
    stored = storable({"__classname__": "builtins.dict", "__id__": 1, "__type": "x", "value": value})
    assert deserialize(serialize(stored)) == stored


def test_the_xcom_is_the_operation_without_its_response() -> None:
    """Name, done, metadata and error go into the XCom; the response is the task's return value instead."""
    error = Status(Code.ABORTED, "m", [{"__id__": 1}])
    operation = Operation("operations/x", done=True, metadata={"a": 1}, response={"b": 2}, error=error)
    assert operation_xcom(operation) == {
        "name": "operations/x",
        "done": True,
        "metadata": {"a": 1},
        "error": {"code": 10, "message": "m", "details": [{"\\__id__": 1}]},
    }


def test_large_metadata_is_left_out() -> None:
    """Metadata that is too large goes first, and the XCom says so; the error stays whole."""
    error = Status(Code.ABORTED, "m", [{"a": 1}])
    operation = Operation("operations/x", done=True, metadata={"a": "x" * MAX_OPERATION_CHARS}, error=error)
    stored = operation_xcom(operation)
    assert stored["metadata"] == f"left out: the operation has {MAX_OPERATION_CHARS + 123} characters"
    assert stored["error"] == error.to_json()


@pytest.mark.parametrize("character", ["x", "ü", "😀"])
@pytest.mark.parametrize("where", ["message", "details", "other"])
def test_large_errors_are_cut(where: str, character: str) -> None:
    """However large an error is, the XCom keeps its code and the begin of its message, and stays within bounds."""
    text = character * MAX_OPERATION_CHARS
    message = text if where == "message" else "m"
    other = {"a": text} if where == "other" else {}
    error = Status(Code.ABORTED, message, [text] if where == "details" else [], other)
    stored = operation_xcom(Operation("operations/x", done=True, metadata=text, error=error))
    assert len(json.dumps(stored)) <= MAX_OPERATION_CHARS
    assert set(stored) == {"name", "done", "error"}
    assert stored["error"]["code"] == 10
    assert stored["error"]["message"].startswith(message[:100])
    assert stored["error"]["details"][0].startswith("left out: the operation has ")


def test_large_unknown_fields_are_left_out() -> None:
    """Fields outside the standard don't make the XCom large either."""
    operation = Operation("operations/x", done=True, other={"a": "x" * MAX_OPERATION_CHARS})
    assert operation_xcom(operation) == {"name": "operations/x", "done": True}
