"""
The long-running operation as a value.

Sources: https://google.aip.dev/151, ``google/longrunning/operations.proto``, ``google/rpc/status.proto``,
``google/rpc/code.proto``. Needs neither Airflow nor an HTTP client.
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_operations._json.metadata import Progress, Times, as_number, progress_in, times_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.message import Message

    MessageT = TypeVar("MessageT", bound=Message)

__all__ = [
    "MAX_NAME_BYTES",
    "Code",
    "MalformedOperation",
    "Operation",
    "Progress",
    "Status",
    "detail_fields",
    "detail_type",
]


MAX_NAME_BYTES = 2048
"""Longest name of an operation, in UTF-8: it is stored in Airflow's database, and thousands may be in memory."""

MAX_CODE = 2**31
"""``google.rpc.Status.code`` is an int32."""


class MalformedOperation(ValueError):
    """JSON that is not an operation; the text says which field, and what stood there."""


class Code(IntEnum):
    """``google.rpc.Code``."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def parse(cls, value: object) -> Code | int | None:
        """
        Read a code as servers write it: number, numeric text, name, or the HTTP status of an error.

        :return: a ``Code`` where known, the int where not, ``None`` where there is no code in it.
        """
        if (code := cls.standard(value)) is not None:
            return code
        number = _whole_number(value)
        if number is None or not -MAX_CODE <= number < MAX_CODE:
            return None
        return _CODES_OF_HTTP.get(number, number)

    @classmethod
    def standard(cls, value: object) -> Code | None:
        """Read a code by its own number or name; ``None`` for anything else."""
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        number = _whole_number(value)
        return next((code for code in cls if code == number), None)

    @classmethod
    def named_in(cls, error: dict[str, Any]) -> Code | None:
        """Return the code that an error names beside its ``code``, which in many is an HTTP status."""
        named = (cls.standard(error.get(key)) for key in _NAMES_OF_CODES)
        return next((code for code in named if code), None)

    @classmethod
    def set_of(
        cls, argument: str, codes: Collection[Code | int | str] | Code | int | str
    ) -> frozenset[Code | int]:
        """
        Read an argument that takes codes, or a single one.

        :raises ValueError: something else is among them; the text names the argument.
        """
        parsed = {code: cls.parse(code) for code in ([codes] if isinstance(codes, int | str) else codes)}
        for code, known in parsed.items():
            if known is None:
                raise ValueError(
                    f"{argument!r} has codes such as Code.UNAVAILABLE or 'UNAVAILABLE', not {code!r}"
                )
        return frozenset(known for known in parsed.values() if known is not None)

    @classmethod
    def of_http(cls, http_status: int) -> Code:
        """Return the code that an HTTP status stands for when the body says nothing (``google/rpc/code.proto``)."""
        return _CODES_OF_HTTP.get(http_status, cls.INTERNAL if http_status >= 500 else cls.UNKNOWN)


_NAMES_OF_CODES = ("status", "error_code", "errorCode")

_CODES_OF_HTTP = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    412: Code.FAILED_PRECONDITION,
    416: Code.OUT_OF_RANGE,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True)
class Status:
    """
    ``google.rpc.Status``: why something failed.

    :param code: a ``Code`` where known, else the number that came.
    :param details: the JSON values exactly as they came.
    :param other: fields beside code, message and details, such as ``errors`` of Google's error format 1.
    """

    code: Code | int = Code.UNKNOWN
    message: str = ""
    details: list[Any] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Status:
        """
        Read a Status in whatever shape came; nothing is dropped and nothing is refused.

        A name beside the code counts before a number that isn't one of ``google.rpc.Code``, and an HTTP status is read
        as the code that it stands for. An error without a usable code, or with code 0, is UNKNOWN: the fact that it is
        an error counts more.

        :param value: ``{"code": int, "message": str, "details": [{"@type": str, ...}]}``, or anything else.
        """
        if not isinstance(value, dict):
            return cls(message=value if isinstance(value, str) else "", details=_as_details(value))
        other = dict(value)
        sent_code, message = other.pop("code", None), other.pop("message", None)
        details = _as_list(other.pop("details", None))
        numbers = (Code.parse(number) for number in (sent_code, *map(other.get, _NAMES_OF_CODES)))
        code = Code.standard(sent_code) or Code.named_in(other) or next(filter(None, numbers), None)
        is_told = Code.standard(sent_code) is not None or (
            code is not None and code == _whole_number(sent_code)
        )
        if sent_code is not None and not is_told:
            other["codeAsSent"] = sent_code
        if not isinstance(message, str):
            message = "" if message is None else json.dumps(message)
        return cls(code or Code.UNKNOWN, message, details, other)

    def to_json(self) -> dict[str, Any]:
        """Return the Status as JSON; ``from_json`` of it is equal."""
        body: dict[str, Any] = {**self.other, "code": int(self.code), "message": self.message}
        if self.details:
            body["details"] = self.details
        return body

    @property
    def code_name(self) -> str:
        """``RESOURCE_EXHAUSTED (8)``; ``code 99`` for a number that the standard does not know."""
        return f"{self.code.name} ({self.code.value})" if isinstance(self.code, Code) else f"code {self.code}"

    def find(self, message_class: type[MessageT]) -> MessageT | None:
        """
        Return the first detail of this type as the official protobuf message.

        :param message_class: e.g. ``google.rpc.error_details_pb2.ErrorInfo``.
        :return: ``None`` when there is none that can be read as such.
        """
        from google.protobuf import json_format

        wanted = message_class.DESCRIPTOR.full_name
        for fields in self._fields_of(wanted):
            try:
                message = message_class()
                json_format.ParseDict(fields, message, ignore_unknown_fields=True)
            except json_format.ParseError:
                continue
            return message  # type: ignore[no-any-return]  # protobuf has no types here
        return None

    @property
    def retry_delay(self) -> timedelta | None:
        """How long the server asks to wait before trying again (``google.rpc.RetryInfo``)."""
        delays = (_duration(fields.get("retryDelay")) for fields in self._fields_of("google.rpc.RetryInfo"))
        return next((delay for delay in delays if delay is not None), None)

    @property
    def reason(self) -> str | None:
        """The machine-readable name of the cause, e.g. ``CPU_QUOTA_EXCEEDED`` (``google.rpc.ErrorInfo``)."""
        reasons = (fields.get("reason") for fields in self._fields_of("google.rpc.ErrorInfo"))
        return next((reason for reason in reasons if reason and isinstance(reason, str)), None)

    def _fields_of(self, full_name: str) -> Iterator[dict[str, Any]]:
        return (detail_fields(detail) for detail in self.details if detail_type(detail) == full_name)


@dataclass(frozen=True)
class Operation:
    """
    ``google.longrunning.Operation``.

    :param name: empty where the server gave none (some answer so for operations that are done at once).
    :param error: set when a done operation failed; wins over ``response`` where a server sends both.
    :param other: fields that the standard does not name.
    :param abridged: it isn't all that the server sent: a large one that a trigger has read.
    """

    name: str
    done: bool = False
    metadata: Any = None
    response: Any = None
    error: Status | None = None
    other: dict[str, Any] = field(default_factory=dict)
    abridged: bool = field(default=False, compare=False)

    @classmethod
    def from_json(cls, value: object) -> Operation:
        """
        Read ``{"name": str, "done": bool, "metadata": {...}, "response": {...} | "error": Status}``.

        A missing ``done`` is false, as proto3 JSON leaves it out.

        :raises MalformedOperation: not an object; neither name nor done in it; a field of a wrong type.
        """
        if not isinstance(value, dict):
            raise MalformedOperation(f"an operation is a JSON object; this is {_kind(value)}")
        other = dict(value)
        name, done = other.pop("name", None), other.pop("done", None)
        if name is None and done is None:
            keys = ", ".join(sorted(str(key)[:60] for key in value)[:10]) or "nothing"
            raise MalformedOperation(f"an operation has 'name' or 'done'; this object has {keys}")
        if not isinstance(name, str | None):
            raise MalformedOperation(f"an operation's 'name' is text; this is {_kind(name)}")
        if name and len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
            raise MalformedOperation(
                f"an operation's 'name' is at most {MAX_NAME_BYTES} bytes long; this one has {len(name)} characters"
            )
        if not isinstance(done, bool | None):
            raise MalformedOperation(f"an operation's 'done' is true or false; this is {_kind(done)}")
        error = other.pop("error", None)
        return cls(
            name=name or "",
            done=bool(done),
            metadata=other.pop("metadata", None),
            response=other.pop("response", None),
            error=None if error is None else Status.from_json(error),
            other=other,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the operation as JSON; ``from_json`` of it is equal."""
        body: dict[str, Any] = {**self.other, "name": self.name, "done": self.done}
        if self.metadata is not None:
            body["metadata"] = self.metadata
        if self.error is not None:
            body["error"] = self.error.to_json()
        if self.response is not None:
            body["response"] = self.response
        return body

    @property
    def progress(self) -> Progress:
        """Percent, message and count, as far as the metadata has them; never raises."""
        return progress_in(detail_fields(self.metadata), done=self.done)

    @property
    def times(self) -> Times:
        """When it was created, began and ended, as far as the metadata has it; never raises."""
        return times_in(detail_fields(self.metadata))


def detail_type(detail: object) -> str | None:
    """Return the full protobuf name of a JSON ``Any`` (``@type``, or ``typeUrl`` as some servers write it)."""
    if isinstance(detail, dict):
        url = detail.get("@type", detail.get("typeUrl"))
        if isinstance(url, str) and url:
            return url.rpartition("/")[2]
    return None


def detail_fields(detail: object) -> dict[str, Any]:
    """Return the fields of a JSON ``Any`` without its type; empty where it has none."""
    if not isinstance(detail, dict):
        return {}
    if "typeUrl" in detail and "@type" not in detail:
        value = detail.get("value")
        return value if isinstance(value, dict) else {}
    return {key: value for key, value in detail.items() if key != "@type"}


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
"""A server's value may have megabytes."""


def _kind(value: object) -> str:
    shown = _SHORT.repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _as_details(value: object) -> list[Any]:
    return [] if isinstance(value, str) else _as_list(value)


def _whole_number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else None


_PROTO_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s")


def _duration(value: object) -> timedelta | None:
    """Read proto3 JSON's ``"3.5s"``, or ``{"seconds", "nanos"}`` as emitted without the JSON mapping."""
    if isinstance(value, str) and (match := _PROTO_DURATION.fullmatch(value)):
        seconds = float(match[1])
    elif isinstance(value, dict):
        seconds = (as_number(value.get("seconds")) or 0.0) + (as_number(value.get("nanos")) or 0.0) / 1e9
    else:
        return None
    return timedelta(seconds=seconds) if 0 <= seconds < 1e9 else None
