"""Requests without a client library between the test and the wire."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


def call(
    url: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Send one request; ``body`` is sent as JSON, bytes and text as they are."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    payload = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
    try:
        connection.request(method, path, payload, dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
    is_json = headers.get("content-type", "").startswith("application/json")
    return Reply(response.status, headers, json.loads(text) if is_json else text.decode())


def start(url: str, path: str = "/v1/projects/p/things:run", /, **script: Any) -> str:
    """Start an operation and return its name."""
    reply = call(url, "POST", path, {"operation": script})
    assert reply.status == 200, reply
    name: str = reply.body["name"]
    return name


def exchange(url: str, request: str) -> bytes:
    """Send text as it is and return every byte up to the end of the connection."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=20) as connection:
        connection.sendall(request.encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received
