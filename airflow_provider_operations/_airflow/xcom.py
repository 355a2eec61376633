"""What tasks push to XCom, in a form that Airflow's serializer takes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._protocol.rendering import clip_json, each_value, finite_number

if TYPE_CHECKING:
    from airflow_provider_operations.operation import Operation

__all__ = ["LINK_KEY", "OPERATION_KEY", "OPERATION_NAME_KEY", "operation_xcom", "storable"]

OPERATION_NAME_KEY = "operation_name"
"""XCom under which a task says which operation is its own; pushed before it waits."""

OPERATION_KEY = "operation"
"""XCom of the final operation, on success and failure."""

LINK_KEY = "_link_OperationLink"
"""XCom under which Airflow 3 looks for the link to the operation's page."""

MAX_OPERATION_CHARS = 48 * 1024
"""Longest ``operation`` XCom, as JSON text: it is stored in Airflow's database."""

_RESERVED_KEYS = frozenset({"__classname__", "__id__", "__type"})


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: Any) -> Any:
    r"""
    Return a server's JSON so that Airflow's serializer, its channels and any database take it.

    What had to be changed shows it: a key that Airflow's serializer gives a meaning of its own (``__classname__``,
    ``__id__``, ``__type``) gets a backslash in front, ``\__id__``; NUL and halves of surrogate pairs become
    ``\x00`` and ``\ud800``, written out; integers that don't fit into 64 bits, NaN and infinities become text, as
    JSON of protobuf has them.
    """
    return each_value(_storable_value, value, _storable_key)


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub(_written_out, value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return finite_number(value)


def _storable_key(key: str) -> str:
    return f"\\{key}" if key in _RESERVED_KEYS else _UNSTORABLE.sub(_written_out, key)


def _written_out(match: re.Match[str]) -> str:
    return r"\x00" if match[0] == "\0" else rf"\u{ord(match[0]):04x}"


def operation_xcom(operation: Operation, max_chars: int = MAX_OPERATION_CHARS) -> dict[str, Any]:
    """
    Return ``{"name": str, "done": bool, "metadata": {...}, "error": Status}``.

    The response isn't in it, as it is the task's return value. What is too large is cut, and says so.

    :param max_chars: the longest that it may be, as JSON text; enough for the longest name and a word of an error.
    """
    whole = operation.to_json()
    whole.pop("response", None)
    body: dict[str, Any] = storable(whole)
    if (size := len(json.dumps(body))) > max_chars and "metadata" in body:
        body["metadata"] = f"left out: the operation has {size} characters"
    if (size := len(json.dumps(body))) > max_chars:
        error = body.get("error")
        body = {"name": body["name"], "done": operation.done}
        if error:
            left_out = f"left out: the operation has {size} characters"
            body["error"] = {"code": error["code"], "message": "", "details": [left_out]}
            body["error"]["message"] = clip_json(error["message"], max_chars - len(json.dumps(body)))
    return body
