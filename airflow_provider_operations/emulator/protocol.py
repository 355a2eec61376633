"""
The protocol over HTTP: each request is read, journaled, perhaps spoiled by a fault, and answered.

An ASGI application of its own, because a fault needs what a framework hides: the connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import ClientDisconnect, Request

from .errors import ApiError, Violation, envelope_of
from .routes import Call, classify
from .service import Service, request_id_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from .faults import Fault, Faults

log = logging.getLogger("airflow_provider_operations.emulator")

MAX_WAIT_S = 60.0
_WAIT_STEP_S = 0.05

Connections = MutableMapping[Any, asyncio.Transport]
"""Open connections by the client's address, as in an ASGI scope."""


@dataclass
class Answer:
    """What goes back, and what the journal should know of it."""

    status: int
    body: bytes
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": "application/json; charset=utf-8"}
    )
    operation: str | None = None
    deduplicated: bool = False

    @classmethod
    def of(cls, value: object, status: int = 200) -> Answer:
        """Return a JSON answer."""
        return cls(status, json.dumps(value).encode())


@dataclass(frozen=True)
class Asked:
    """A request and how it was understood."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    call: Call
    id_header: str | None = None

    def parsed(self) -> Any:
        """Return the body as JSON, else as text; ``None`` if it is empty."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body.decode("utf-8", "replace")

    def object(self) -> dict[str, Any]:
        """
        Return the body, which must be a JSON object or empty.

        :raises ApiError: 400.
        """
        value = self.parsed() if self.body else {}
        if not isinstance(value, dict):
            raise ApiError("INVALID_ARGUMENT", "The body must be a JSON object, or empty", "INVALID_BODY")
        return value


class Protocol:
    """
    The ASGI application that serves operations.

    :param connections: kept by the server; closing one is how an answer gets lost.
    """

    def __init__(self, service: Service, faults: Faults, connections: Connections) -> None:
        self.service = service
        self.faults = faults
        self.connections = connections
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query = dict(pairs)
        path = _decoded(scope)
        call = classify(scope["method"], path, self.service.known)
        id_header = request.headers.get("idempotency-key")
        asked = Asked(scope["method"], path, query, body, call, id_header)
        entry: dict[str, Any] = {
            "time": self.service.clock(),
            "kind": call.kind,
            "method": asked.method,
            "path": scope.get("raw_path", scope["path"].encode()).decode("latin-1"),
            "query": _as_sent(pairs),
            "headers": {name.decode("latin-1"): _text(value) for name, value in scope["headers"]},
            "body": asked.parsed(),
            "operation": call.name,
        }
        seq = self.service.store.add_entry(entry)
        fault = self.faults.pick(call.kind, call.name or asked.path)
        answer = await self._answer(asked, fault)
        if answer.operation is not None:
            entry["operation"] = answer.operation
        entry["fault"] = None if fault is None else fault.id
        entry["deduplicated"] = answer.deduplicated
        entry["status"] = None
        if fault is not None and "delay" in fault.spec:
            self.service.store.finish_entry(seq, entry)
            await self.pause(fault.spec["delay"])
        if fault is None or not fault.loses_answer:
            entry["status"] = answer.status
        # Journal first: whoever has the answer finds the request in the journal.
        self.service.store.finish_entry(seq, entry)
        log.info("%s", _line(entry))
        await self._send(answer, fault, scope, receive, send)

    async def pause(self, seconds: float) -> bool:
        """Sleep, but not longer than the server lives; tell whether it stops."""
        if seconds > 0 and not self.stopping.is_set():
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except asyncio.TimeoutError:
                return False
        return self.stopping.is_set()

    async def _answer(self, asked: Asked, fault: Fault | None) -> Answer:
        answer = Answer(200, b"")
        if fault is None or fault.has_effect:
            try:
                answer = await self._serve(asked)
            except ApiError as exc:
                answer = Answer.of(exc.envelope(v1=asked.query.get("$.xgafv") == "1"), exc.http_status)
        if fault is not None and fault.replaces_answer:
            self._replace(answer, fault)
        if fault is not None:
            answer.headers |= {name.lower(): value for name, value in fault.spec.get("headers", {}).items()}
        return answer

    def _replace(self, answer: Answer, fault: Fault) -> None:
        answer.status = fault.spec.get("status", 200)
        body = fault.spec.get("body", envelope_of(answer.status, f"Scripted by {fault.id}"))
        if isinstance(body, str):
            answer.body = body.encode()
            answer.headers["content-type"] = "text/plain; charset=utf-8"
        else:
            answer.body = json.dumps(body).encode()

    async def _serve(self, asked: Asked) -> Answer:
        call = asked.call
        if call.kind == "get":
            return Answer.of(self.service.get(call.name or ""))
        if call.kind == "cancel":
            asked.object()
            self.service.cancel(call.name or "")
            return Answer.of({})
        if call.kind == "delete":
            self.service.delete(call.name or "")
            return Answer.of({})
        if call.kind == "wait":
            return Answer.of(await self._wait(call.name or "", _timeout_s(asked)))
        if call.kind == "list":
            parents = [asked.query["name"]] if asked.query.get("name") else list(call.parents)
            return Answer.of(
                self.service.list(["" if p == "operations" else p for p in parents], asked.query)
            )
        if call.kind == "start":
            return self._start(asked)
        if asked.method == "GET" and asked.path in ("/", "/healthz"):
            return Answer.of({"status": "ok"})
        raise ApiError("NOT_FOUND", f"Nothing here: {asked.method} {asked.path}", "ROUTE_NOT_FOUND")

    def _start(self, asked: Asked) -> Answer:
        body = asked.object()
        request_id = request_id_of(asked.method, asked.path, asked.query, body, asked.id_header)
        started = self.service.start(asked.call.target, asked.call.verb, body, request_id)
        answer = Answer.of(started.resource)
        answer.operation, answer.deduplicated = started.name, started.deduplicated
        return answer

    async def _wait(self, name: str, timeout_s: float) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while not self.service.record(name).done(self.service.clock()):
            left = until - loop.time()
            if left <= 0 or await self.pause(min(left, _WAIT_STEP_S)):
                break
        return self.service.get(name)

    async def _send(
        self, answer: Answer, fault: Fault | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if fault is not None and fault.loses_answer:
            await self._close(scope, receive)
            return
        headers = answer.headers | {"content-length": str(len(answer.body))}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        cut = None if fault is None else fault.spec.get("truncate")
        if cut is None or cut >= len(answer.body):
            await send({"type": "http.response.body", "body": answer.body})
            return
        await send({"type": "http.response.body", "body": answer.body[:cut], "more_body": True})
        await self._close(scope, receive)

    async def _close(self, scope: Scope, receive: Receive) -> None:
        transport = self.connections.get(scope["client"])
        if transport is not None:
            transport.close()
        # An application that returns early counts as crashed; one whose client is gone does not.
        while (await receive())["type"] != "http.disconnect":
            pass


def _decoded(scope: Scope) -> str:
    """Return the path decoded, but for encoded slashes: see ``google/api/http.proto``."""
    raw = scope.get("raw_path")
    if raw is None:
        return str(scope["path"])
    parts = re.split("(%2[Ff])", raw.decode("latin-1"))
    return "".join(part if at % 2 else unquote(part) for at, part in enumerate(parts))


def _as_sent(pairs: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Return a query for the journal: of a key that is repeated, a list."""
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: each[0] if len(each) == 1 else each for key, each in values.items()}


def _text(header: bytes) -> str:
    """Return a header's value for the journal: UTF-8, if it is."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _line(entry: dict[str, Any]) -> str:
    """Say in a line what was asked and answered; without the query, which may hold a key."""
    parts = [
        entry["method"],
        entry["path"],
        entry["status"] or "no answer",
        entry["kind"],
        entry["operation"],
    ]
    parts += [entry["fault"], "the same request again" if entry["deduplicated"] else None]
    return " ".join(str(part) for part in parts if part)


def _timeout_s(asked: Asked) -> float:
    text = asked.query.get("timeout", asked.object().get("timeout"))
    if text is None:
        return MAX_WAIT_S
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,12}(\.\d{1,9})?s", text):
        raise ApiError.invalid(Violation("timeout", 'must be a duration such as "3.5s"'))
    seconds = float(text[:-1])
    return min(seconds if math.isfinite(seconds) else MAX_WAIT_S, MAX_WAIT_S)
