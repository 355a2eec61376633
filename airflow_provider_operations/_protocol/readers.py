"""
The readers of answers, of which each request has its own: to an ``Operation``, a page of them, or plain JSON.

What can't be read, or is a refusal, becomes a ``CallFailure``; nothing here raises for what a server did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from airflow_provider_operations._json.abridging import ABRIDGED, MAX_OPERATIONS
from airflow_provider_operations._protocol.names import InvalidName, checked_name
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse, refused, unreadable
from airflow_provider_operations.operation import MalformedOperation, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = [
    "is_named",
    "operation_of",
    "page_of",
    "read_cancelled",
    "read_json",
    "read_operation",
    "read_page",
    "read_started",
]

T = TypeVar("T")

MAX_SAID_CHARS = 500

MAX_TOKEN_CHARS = 16 * 1024
"""Longest token of a page that is sent back, in a URL."""


def read_json(response: HttpResponse, now: datetime) -> Any:
    """
    Read the JSON of a successful answer, whatever its content type says; an empty body is ``{}``.

    :param now: aware; to turn a Retry-After date into a duration.
    :return: any JSON value, or a ``CallFailure``.
    """
    if not 200 <= response.http_status < 300:
        return refused(response, now)
    if not response.body.strip():
        return {}
    try:
        return response.json()
    except ValueError as error:
        content_type = response.header("content-type") or "no content type"
        return unreadable(response, f"the answer ({content_type}) is not JSON: {error}")


def read_operation(response: HttpResponse, now: datetime) -> Operation | CallFailure:
    """Read an answer that must be an operation."""
    return _read_as(operation_of, "the answer is no operation: {}", response, now)


def read_started(response: HttpResponse, now: datetime) -> Operation | CallFailure:
    """Read the answer to a start: an operation that is done, or that can be polled."""
    started = read_operation(response, now)
    if isinstance(started, CallFailure):
        return started
    if not started.name:
        nameless = "the answer is an operation without a name that isn't done; it can't be asked for"
        return started if started.done else unreadable(response, nameless)
    try:
        _check_started(started.name)
    except InvalidName:
        why = _problem_with(_check_started, response.hide(started.name))
        return unreadable(response, f"the answer's operation can't be asked for: {why}")
    return started


def read_validated(response: HttpResponse, now: datetime) -> Operation | CallFailure:
    """Read the answer to a start that was only to be validated: nothing runs, whatever the operation in it looks like."""
    value = read_json(response, now)
    if isinstance(value, CallFailure):
        return value
    if not isinstance(value, dict):
        return Operation("", done=True)
    if value.get("error") and value.get("done") is None:  # some answer with an error alone, as a success
        return Operation("", done=True, error=Status.from_json(response.hide(value["error"])))
    if value.get("name") is None and value.get("done") is None:
        return Operation("", done=True)
    checked = read_operation(response, now)
    return checked if isinstance(checked, CallFailure) else replace(checked, done=True)


def _check_started(name: str) -> None:
    checked_name(name, "operation name")


def read_cancelled(response: HttpResponse, now: datetime) -> CallFailure | None:
    """Read the answer to a cancel call, which has nothing in it, or the operation; some have an error, as a success."""
    value = read_json(response, now)
    if isinstance(value, CallFailure):
        return value
    if isinstance(value, dict) and value.get("error") and not {"name", "done"} & value.keys():
        said = Status.from_json(response.hide(value["error"]))
        return unreadable(
            response, f"the answer is an error: {said.code_name}: {said.message[:MAX_SAID_CHARS]}"
        )
    return None


def read_page(response: HttpResponse, now: datetime) -> tuple[list[Operation], str] | CallFailure:
    """Read a page of a list: its operations, and the token of the next page, empty if there is none."""
    return _read_as(page_of, "the answer is no list of operations: {}", response, now)


def _read_as(
    read: Callable[[Any, HttpResponse], T], text: str, response: HttpResponse, now: datetime
) -> T | CallFailure:
    """
    Read the JSON of an answer further.

    :param text: what a failure to do so says, ``{}`` for the reason.
    """
    value = read_json(response, now)
    if isinstance(value, CallFailure):
        return value
    try:
        return read(value, response)
    except MalformedOperation:
        why = _problem_with(lambda hidden: read(hidden, response), response.hide(value))
        return unreadable(response, text.format(why))


def operation_of(value: Any, response: HttpResponse) -> Operation:
    """
    Read an operation of an answer, without the secrets that were sent; of an abridgement it says whether it is whole.

    :raises MalformedOperation: see ``Operation.from_json``.
    """
    operation = Operation.from_json(value)
    if response.abridged is not None and ABRIDGED in operation.other:
        other = {key: value for key, value in operation.other.items() if key != ABRIDGED}
        operation = replace(operation, other=other, abridged=True)
    return response.secrets.hidden_in_operation(operation) if response.may_repeat_secrets else operation


def page_of(value: Any, response: HttpResponse) -> tuple[list[Operation], str]:
    """
    Read the operations of a page, and the token of the next one.

    :raises MalformedOperation: it's none, or larger than what is read.
    """
    try:
        items = value.get("operations") or []
        if len(items) > MAX_OPERATIONS:
            raise MalformedOperation(f"it has more than {MAX_OPERATIONS} operations on one page")
        operations = [operation_of(item, response) for item in items]
        token = value.get("nextPageToken") or ""
    except (AttributeError, TypeError) as error:
        raise MalformedOperation(str(error)) from error
    if not isinstance(token, str):
        raise MalformedOperation("its nextPageToken is not text")
    if len(token) > MAX_TOKEN_CHARS:
        raise MalformedOperation(
            f"its nextPageToken has {len(token)} characters, which is more than {MAX_TOKEN_CHARS}"
        )
    return operations, token


def is_named(operation: Operation, name: str) -> bool:
    """Tell whether an operation has this name, percent-encoded or not, with or without the padding of base64."""
    return operation.name == name or _bare(operation.name) == _bare(name)


def _bare(name: str) -> str:
    return unquote(name).rstrip("=")


def _problem_with(read: Callable[[Any], object], value: Any) -> str:
    """Return what a reader says is wrong with a value, from which secrets have been taken."""
    try:
        read(value)
    except ValueError as error:
        return str(error)
    return "it can't be read"
