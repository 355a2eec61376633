"""
``google.longrunning.Operations`` over a store and a clock.

Knows nothing of HTTP. A method that is refused raises :class:`~.errors.ApiError`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import sqlite3
import uuid
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ApiError, Violation
from .filters import parse_filter
from .routes import parent_of
from .script import Record, Script
from .store import RequestId, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Started(NamedTuple):
    """
    The answer to a start.

    :param name: the operation's name, also when its resource leaves it out.
    :param deduplicated: the request id was known, so nothing new was started.
    """

    name: str
    resource: dict[str, Any]
    deduplicated: bool


class Service:
    """
    The operations of one emulator.

    :param clock: seconds since the epoch; tests move it by hand.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self.store = store
        self.clock = clock
        self._scripts: deque[dict[str, Any]] = deque()

    def known(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that an operation has or had."""
        record = self.store.find(names)
        return None if record is None else record.name

    def get(self, name: str) -> dict[str, Any]:
        """Return the operation as it is now."""
        return self.record(name).resource(self.clock())

    def record(self, name: str) -> Record:
        """
        Return what is kept of an operation.

        :raises ApiError: 404; there is none of this name, or no longer.
        """
        record = self.store.find([name])
        if record is None or record.deleted:
            message = f"Operation not found: {name}"
            raise ApiError("NOT_FOUND", message, "OPERATION_NOT_FOUND", {"operation": name})
        return record

    def cancel(self, name: str) -> None:
        """
        Cancel an operation; without effect on one that is done or already cancelled.

        :raises ApiError: 404; or 501, where the script says that cancel isn't offered.
        """
        record = self.record(name)
        script = json.loads(record.script)
        if script.get("onCancel") == "unimplemented":
            message = "Operations of this kind cannot be cancelled"
            raise ApiError("UNIMPLEMENTED", message, "CANCEL_UNIMPLEMENTED", {"operation": name})
        now = self.clock()
        if script.get("onCancel") == "ignore" or record.cancelled_epoch_s is not None or record.done(now):
            return
        self.store.set_cancelled(name, now)

    def delete(self, name: str) -> None:
        """Forget an operation; its name stays taken."""
        self.store.set_deleted(self.record(name).name)

    def add_script(self, script: dict[str, Any]) -> None:
        """
        Let the next start without an ``operation`` in its body follow this one, after those added before.

        :raises ApiError: 400 for a bad script.
        """
        Script.from_json(script)
        self._scripts.append(script)

    def forget_scripts(self) -> None:
        """Drop the scripts that no start has taken."""
        self._scripts.clear()

    def start(self, target: str, verb: str, body: dict[str, Any], request_id: RequestId | None) -> Started:
        """
        Start an operation, or return the one started under the same request id.

        :param body: may hold a script, under ``operation`` and nowhere else, as a real request has keys such as
            ``steps`` of its own; without one the next of ``add_script`` counts, then the defaults do.
        :raises ApiError: 400 for a bad script or an id used by another request; 409 for a taken name.
        """
        if request_id is not None:
            known = self.store.find_request(request_id.id)
            if known is not None:
                return self._again(request_id, *known)
        written = self._scripts.popleft() if self._scripts and "operation" not in body else _script(body)
        script = Script.from_json(written, "operation" if "operation" in body else "")
        parent = parent_of(target) if script.parent is None else script.parent
        name = script.name or f"{parent}/operations/{uuid.uuid4()}".lstrip("/")
        record = Record(0, name, json.dumps(written), target, verb, self.clock())
        try:
            self.store.add_operation(record, request_id)
        except sqlite3.IntegrityError as exc:
            message = f"Operation already exists, or did before it was deleted: {name}"
            raise ApiError("ALREADY_EXISTS", message, "OPERATION_EXISTS", {"operation": name}) from exc
        return Started(name, record.resource(self.clock()), deduplicated=False)

    def _again(self, asked: RequestId, served: RequestId, record: Record) -> Started:
        if asked != served:
            raise ApiError.invalid(Violation("requestId", "was used for a different request"))
        return Started(record.name, record.resource(self.clock()), deduplicated=True)

    def list(self, parents: Sequence[str], query: dict[str, str]) -> dict[str, Any]:
        """
        Return one page of operations, oldest first.

        :param parents: readings of the parent; ``""`` means every operation, a segment ``-`` any id.
        :param query: ``filter``, ``pageSize``, ``pageToken``.
        :return: ``{"operations": list[dict], "nextPageToken": str}``, the token only if there is more.
        :raises ApiError: 400.

        Source: https://google.aip.dev/158
        """
        matches = parse_filter(query.get("filter", ""))
        size = _page_size(query.get("pageSize", ""))
        digest = _digest(sorted(parents), query.get("filter", ""))
        after = _after(query["pageToken"], digest) if query.get("pageToken") else 0
        now = self.clock()
        children = re.compile("|".join(map(_children, parents)))
        found = (
            (record.seq, resource)
            for record in self.store.operations(after)
            if children.match(record.name) and matches(resource := record.resource(now))
        )
        page = list(islice(found, size + 1))
        answer: dict[str, Any] = {"operations": [resource for _, resource in page[:size]]}
        if len(page) > size:
            token = json.dumps([page[size - 1][0], digest])
            answer["nextPageToken"] = base64.urlsafe_b64encode(token.encode()).decode()
        return answer


def request_id_of(
    method: str, path: str, query: dict[str, str], body: dict[str, Any], header: str | None
) -> RequestId | None:
    """
    Return the request's id, from the query or the top level of the body, else from a header.

    :param header: the value of ``Idempotency-Key``, which may be any text.

    :raises ApiError: 400; the id is no UUID, or only zeros.

    Source: https://google.aip.dev/155
    """
    places = [place[key] for place in (query, body) for key in ("requestId", "request_id") if key in place]
    if not places:
        return RequestId(header, _digest(method, path, body)) if header else None
    value = str(places[0]).lower()
    if not _UUID.fullmatch(value) or not value.strip("0-"):
        raise ApiError.invalid(Violation("requestId", "must be a UUID other than zero, in 8-4-4-4-12 form"))
    rest = {key: item for key, item in body.items() if key not in ("requestId", "request_id")}
    return RequestId(value, _digest(method, path, rest))


def _script(body: dict[str, Any]) -> dict[str, Any]:
    script = body.get("operation", {})
    if not isinstance(script, dict):
        raise ApiError.invalid(Violation("operation", "must be an object, the script of the operation"))
    return script


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _children(parent: str) -> str:
    if not parent:
        return ""
    return re.escape(parent).replace(r"/\-", "/[^/]+") + "/operations/"


def _page_size(text: str) -> int:
    if not re.fullmatch(r"\d{0,9}", text):
        raise ApiError.invalid(Violation("pageSize", "must be a whole number >= 0"))
    return min(int(text or 0) or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _after(token: str, digest: str) -> int:
    problem = Violation("pageToken", "not a token of this list; parent and filter must stay the same")
    try:
        after, made_for = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as exc:
        raise ApiError.invalid(problem) from exc
    if made_for != digest or not isinstance(after, int):
        raise ApiError.invalid(problem)
    return after
