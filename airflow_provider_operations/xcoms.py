"""What tasks push to XCom, in a form that Airflow's serializer takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_operations.rendering import clip_json, finite

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


def storable(value: Any) -> Any:
    r"""
    Return a server's JSON so that Airflow stores it.

    Airflow's serializer gives the keys ``__classname__``, ``__id__`` and ``__type`` a meaning of its own; where
    a server uses one, it gets a backslash in front: ``\__id__``. NaN and infinities become text, as PostgreSQL
    refuses them.
    """
    return _without_reserved_keys(finite(value))


def _without_reserved_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            f"\\{key}" if key in _RESERVED_KEYS else key: _without_reserved_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_reserved_keys(item) for item in value]
    return value


def operation_xcom(operation: Operation, max_chars: int = MAX_OPERATION_CHARS) -> dict[str, Any]:
    """
    Return ``{"name": str, "done": bool, "metadata": {...}, "error": Status}``.

    The response isn't in it, as it is the task's return value. What is too large is cut, and says so.

    :param max_chars: the longest that it may be, as JSON text; enough for the longest name and a word of an error.
    """
    body = operation.to_json()
    body.pop("response", None)
    stored = storable(body)
    if (size := len(json.dumps(stored))) > max_chars and "metadata" in body:
        body["metadata"] = f"left out: the operation has {size} characters"
        stored = storable(body)
    if (size := len(json.dumps(stored))) > max_chars:
        stored = {"name": operation.name, "done": operation.done}
        if operation.error is not None:
            left_out = f"left out: the operation has {size} characters"
            error = {"code": int(operation.error.code), "message": "", "details": [left_out]}
            stored["error"] = error
            error["message"] = clip_json(operation.error.message, max_chars - len(json.dumps(stored)))
    result: dict[str, Any] = stored
    return result
