"""Operations on the emulator."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

__all__ = ["ask", "start_operation"]


def ask(url: str, method: str, path: str, body: object = None) -> Any:
    """Send one request and return the JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body))
        return json.loads(connection.getresponse().read())


def start_operation(url: str, name: str, length_s: float) -> None:
    """Start an operation of this name."""
    script = {"operation": {"name": name, "duration": length_s}}
    started = ask(url, "POST", "/v1/projects/bench/things:run", script)
    assert started["name"] == name, started
