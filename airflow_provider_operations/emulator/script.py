"""
What an operation does, set beforehand; and what it looks like at any moment.

The state of an operation is a pure function of its script, when it started, when it was
cancelled, and now. Nothing runs in between: an operation ends while the server is down.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from . import fields
from .errors import ApiError, Violation

STRUCT = "type.googleapis.com/google.protobuf.Struct"
METADATA = "type.googleapis.com/airflow_provider_operations.emulator.OperationMetadata"


def _are_steps(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(step, dict)
        and set(step) == {"at", "metadata"}
        and fields.is_seconds(step["at"])
        and fields.is_object(step["metadata"])
        for step in value
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not value.startswith("/")


FIELDS = {
    "duration": fields.SECONDS,
    "steps": fields.Field('a list of {"at": seconds, "metadata": object}', _are_steps),
    "metadata": fields.OBJECT,
    "response": fields.OBJECT,
    "error": fields.Field('an object, as {"code": 8, "message": "...", "details": [...]}', fields.is_object),
    "onCancel": fields.one_of("cancel", "unimplemented", "ignore"),
    "cancelDelay": fields.SECONDS,
    "name": fields.Field('a name such as "operations/x", without a leading slash', _is_name),
    "parent": fields.Field('a name such as "projects/p", without a leading slash', _is_name),
    "omitName": fields.BOOL,
    "result": fields.one_of("none"),
    "raw": fields.OBJECT,
}
"""The keys of a script, all optional; they are spelled as in JSON."""


@dataclass(frozen=True)
class Script:
    """
    What an operation does.

    :param duration: seconds from start to end.
    :param steps: ``(at, metadata)``: merged into the metadata so many seconds after the start.
    :param metadata: merged over the default metadata from the start.
    :param response: the result; a Struct that names the operation when neither this nor ``error`` is given.
    :param error: ``{"code": int, "message": str, "details": list}``, as in ``google/rpc/status.proto``.
    :param on_cancel: ``cancel``, ``unimplemented`` (501) or ``ignore`` (accepted, no effect).
    :param cancel_delay: seconds from the request to cancel to the end.
    :param omit_name: answer without a name, as the Datastore emulator does.
    :param no_result: done with neither response nor error.
    :param raw: merged over the resource once done, for answers no proper server gives.
    """

    duration: float = 1.0
    steps: tuple[tuple[float, dict[str, Any]], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    on_cancel: str = "cancel"
    cancel_delay: float = 3.0
    name: str | None = None
    parent: str | None = None
    omit_name: bool = False
    no_result: bool = False
    raw: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: dict[str, Any], path: str = "") -> Script:
        """
        Read a script.

        :param path: where the script is in the request's body, for the errors.
        :raises ApiError: 400; names each bad key and what is allowed.
        """
        given = fields.check(value, FIELDS, path)
        results = [key for key in ("response", "error", "result") if key in given]
        if len(results) > 1:
            where = f"{path}.{results[1]}" if path else results[1]
            raise ApiError.invalid(Violation(where, f"not together with {results[0]}"))
        steps = sorted(((float(step["at"]), step["metadata"]) for step in given.get("steps", [])), key=_at)
        return cls(
            duration=float(given.get("duration", 1)),
            steps=tuple(steps),
            metadata=given.get("metadata", {}),
            response=given.get("response"),
            error=given.get("error"),
            on_cancel=given.get("onCancel", "cancel"),
            cancel_delay=float(given.get("cancelDelay", 3)),
            name=given.get("name"),
            parent=given.get("parent"),
            omit_name=given.get("omitName", False),
            no_result="result" in given,
            raw=given.get("raw", {}),
        )


def _at(step: tuple[float, dict[str, Any]]) -> float:
    return step[0]


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Script:
    """Read a script from stored JSON; it was valid when it was stored."""
    return Script.from_json(json.loads(text))


@dataclass(frozen=True)
class Record:
    """
    All that is kept of an operation.

    :param seq: order of starting.
    :param script: the script as JSON text.
    :param target: the resource that the start was about.
    :param verb: what is being done to it.
    :param started_epoch_s: when it started.
    :param cancelled_epoch_s: when it was cancelled with effect, if ever.
    :param deleted: answered as not found; the name stays taken.
    """

    seq: int
    name: str
    script: str
    target: str
    verb: str
    started_epoch_s: float
    cancelled_epoch_s: float | None = None
    deleted: bool = False

    def ends_epoch_s(self) -> float:
        """Return when it ends, as far as is known now."""
        script = parse(self.script)
        if self.cancelled_epoch_s is not None:
            return self.cancelled_epoch_s + script.cancel_delay
        return self.started_epoch_s + script.duration

    def done(self, now: float) -> bool:
        """Tell whether it is done."""
        return now >= self.ends_epoch_s()

    def resource(self, now: float) -> dict[str, Any]:
        """
        Return the operation as a client sees it at ``now``.

        :return: ``{"name": str, "metadata": dict, "done": bool, "error" | "response": dict}``

        Source: google/longrunning/operations.proto
        """
        script = parse(self.script)
        done = self.done(now)
        resource: dict[str, Any] = {} if script.omit_name else {"name": self.name}
        resource["metadata"] = self._metadata(now)
        resource["done"] = done
        if done:
            resource |= self._result()
            resource |= script.raw
        return resource

    def _metadata(self, now: float) -> dict[str, Any]:
        script = parse(self.script)
        end = self.ends_epoch_s()
        metadata: dict[str, Any] = {
            "@type": METADATA,
            "createTime": timestamp(self.started_epoch_s),
            "target": self.target,
            "verb": self.verb,
            "requestedCancellation": self.cancelled_epoch_s is not None,
        }
        if now >= end:
            metadata["endTime"] = timestamp(end)
        metadata |= script.metadata
        for at, change in script.steps:
            if self.started_epoch_s + at <= min(now, end):
                metadata |= change
        return metadata

    def _result(self) -> dict[str, Any]:
        script = parse(self.script)
        if self.cancelled_epoch_s is not None:
            return {"error": {"code": 1, "message": "Operation was cancelled"}}
        if script.no_result:
            return {}
        if script.error is not None:
            return {"error": script.error}
        if script.response is not None:
            return {"response": script.response}
        value = {"operation": self.name, "target": self.target, "verb": self.verb}
        return {"response": {"@type": STRUCT, "value": value}}


def timestamp(epoch_s: float) -> str:
    """Return a moment as protobuf's JSON spells a Timestamp."""
    try:
        moment = datetime.fromtimestamp(epoch_s, timezone.utc)
    except (ValueError, OverflowError, OSError):  # an operation scripted to outlive the calendar
        moment = datetime.max.replace(tzinfo=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
