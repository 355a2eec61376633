"""Answers that hypothesis makes up: any bytes, any timing of bytes, any headers, and a server that gives them."""

from __future__ import annotations

import gzip
import json
import os
import random
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.raw_server import RawServer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ATTACK", "FUZZ", "MOST_BYTES", "NAME", "SECRET", "Attack", "Attacker", "attacks"]

FUZZ = int(os.environ.get("FUZZ", "0"))
"""So many examples of each test (``make fuzz``); 0: as many as ``make test`` has time for."""

MOST_BYTES = int(os.environ.get("FUZZ_BYTES", str(256 * 1024)))
"""About the longest body, unpacked; bombs apart, which are longer than what is read."""

ATTACK = settings(
    deadline=None,
    max_examples=FUZZ or 40,
    print_blob=True,  # a failure can be repeated by it
    suppress_health_check=list(HealthCheck),
)

SECRET = "T0KEN-OF-THE-ATTACK"  # what requests are sent with, and servers repeat
NAME = "operations/x"

_HELD_S = 1.0
"""How long a server that holds a connection open waits for the client to leave."""


@dataclass(frozen=True)
class Attack:
    """
    What a server does with a connection.

    :param pieces: a pause in seconds, and bytes.
    :param end: ``close``, ``reset`` or ``hold``.
    :param unpacked: how long the body is, unpacked; what memory may be taken for.
    """

    pieces: tuple[tuple[float, bytes], ...]
    end: str
    unpacked: int

    def __repr__(self) -> str:
        shown = [f"{pause_s:g} s, {len(data)} bytes {data[:600]!r}" for pause_s, data in self.pieces[:5]]
        return f"<{len(self.pieces)} pieces: {'; '.join(shown)}; {self.end}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # hypothesis would show all the bytes
        printer.text(repr(self))

    def on(self, connection: socket.socket, over: Callable[[float], bool]) -> None:
        """Do it."""
        with suppress(OSError):
            for pause_s, data in self.pieces:
                if pause_s and over(pause_s):
                    return
                connection.sendall(data)
            if self.end == "hold":
                connection.settimeout(_HELD_S)
                connection.recv(1)
            elif self.end == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Attacker(RawServer):
    """A server that attacks everybody who asks it."""

    def __init__(self) -> None:
        self.attack = Attack((), "close", 0)
        super().__init__(lambda connection: self.attack.on(connection, self.released.wait))


# --- bodies ----------------------------------------------------------------------------------------------------

_SPECIAL: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.5,
        2**53,
        2**64,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "true",
        [],
        {},
    ),
    *(NAME, "operations/other", "../x", "/x", "a\0b", "\u202e", "\ud800", "\x1b[31m", SECRET, "x" * 5000),
    *("RESOURCE_EXHAUSTED", "3.5s", "2026-11-28T12:00:00Z", "9999999999999s", "-1s", 429, 16, 99, -7),
]
_KEYS = [
    *("name", "done", "metadata", "error", "response", "operations", "nextPageToken", "code", "message", "status"),
    *("details", "@type", "reason", "domain", "retryDelay", "violations", "fieldViolations", "links", "url"),
    *("progressPercent", "progress", "statusMessage", "createTime", "endTime", "value", "errors", "error_code"),
    *("__classname__", "__id__", "__type", "a\nb", "\u202e", SECRET, ""),
]  # fmt: skip
_TYPES = [
    f"type.googleapis.com/google.rpc.{kind}"
    for kind in (
        *("ErrorInfo", "RetryInfo", "BadRequest", "QuotaFailure", "Help", "DebugInfo", "LocalizedMessage"),
        *("PreconditionFailure", "ResourceInfo", "RequestInfo", "Unheard"),
    )
]


def _mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Three of four times the one."""
    return st.integers(0, 3).flatmap(lambda number: odd if number == 3 else usual)


_json = st.recursive(
    st.sampled_from(_SPECIAL) | st.sampled_from(_TYPES) | st.text(max_size=20) | st.floats() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=12,
)
_details = st.lists(
    st.fixed_dictionaries(
        {"@type": st.sampled_from(_TYPES)}, optional={key: _json for key in _KEYS if key != "@type"}
    )
    | _json,
    max_size=3,
)
_error = st.fixed_dictionaries(
    {}, optional={"code": _json, "message": _json, "status": _json, "details": _details | _json}
)
_more = {"metadata": _json, "response": _json, "error": _mostly(_error, _json)}
_operation = _mostly(
    st.fixed_dictionaries({"name": st.just(NAME), "done": st.booleans()}, optional=_more),
    st.fixed_dictionaries({}, optional={"name": _json, "done": _mostly(st.booleans(), _json), **_more}),
)
_page = st.fixed_dictionaries(
    {
        "operations": _mostly(st.lists(_operation, max_size=3), _json),
        "nextPageToken": st.sampled_from(["", "t", *_SPECIAL]),
    }
)
_value = _mostly(
    _operation, _page | _json | st.builds(lambda error: {"error": error}, _mostly(_error, _json))
)

_UNITS = [
    *(b'{"a":[]},', b"[],", b"{},", b"1,", b'"",', b'"a",', b'"\\u0000",', b'"\\ud800",', b"1e999,", b"[", b'{"a":'),
    *(b" ", b"9", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\", b'"', b"\r\n", b"<p>", b"\xe2\x80\xae", b"a" * 100),
    *(b'{"name":"operations/x"},', b'{"name":"operations/y","done":true},', SECRET.encode() + b" "),
    b'{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R","metadata":{"k":"v"}},',
    b'{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"f","description":"d"}]},',
]  # fmt: skip
_PLACES = [
    (b"", b""),
    (b"[", b"0]"),
    (b'{"a":1,"a":[', b"0]}"),
    (b'{"name":"operations/x","metadata":[', b"0]}"),
    (b'{"name":"operations/x","metadata":{"@type":"x","progress":"', b'"}}'),
    (b'{"name":"operations/x","done":true,"response":[', b"0]}"),
    (b'{"name":"operations/x","done":true,"error":{"code":8,"details":[', b"0]}}"),
    (b'{"name":"operations/x","done":true,"error":{"code":8,"message":"', b'"}}'),
    (b'{"error":{"code":429,"details":[', b"0]}}"),
    (b'{"error":{"message":"', b'"}}'),
    (b'{"operations":[', b'{"name":"a"}],"nextPageToken":"t"}'),
    (b'{"name":"', b'"}'),
    (b'{"', b'":1}'),
]


def _repeated(unit: bytes, place: tuple[bytes, bytes], size: int) -> bytes:
    return place[0] + unit * (size // len(unit)) + place[1]


_sizes = st.sampled_from([100, 2_000, 20_000, 70_000, MOST_BYTES // 2, MOST_BYTES]).map(
    lambda size: min(size, MOST_BYTES)
)
_bodies = (
    _value.map(lambda value: json.dumps(value).encode())
    | _value.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.builds(_repeated, st.sampled_from(_UNITS), st.sampled_from(_PLACES), _sizes)
    | st.binary(max_size=300)
)

_BOMBS = {
    kind: (name, pack(b" " * 9_000_000))
    for kind, name, pack in (
        ("gzip", b"gzip", lambda data: gzip.compress(data, mtime=0)),
        ("deflate", b"deflate", zlib.compress),
    )
}


def _bare_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


_PACKINGS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", lambda data: gzip.compress(data, mtime=0)),
    (b"deflate", zlib.compress),
    (b"deflate", _bare_deflate),
    (b"gzip", lambda data: gzip.compress(data, mtime=0)[:-5]),
    (b"gzip", lambda data: gzip.compress(data, mtime=0) * 2),
    (b"gzip", lambda data: data),
    (b"br", lambda data: data),
    (b"gzip, gzip", lambda data: gzip.compress(gzip.compress(data, mtime=0), mtime=0)),
    (b"\xff\x00", lambda data: data),
]

# --- heads -----------------------------------------------------------------------------------------------------

_STATUS_LINES = [
    *(b"HTTP/1.1 200 OK",) * 80,
    *(b"HTTP/1.1 %d X" % status for status in (201, 204, 206, 299, 301, 304, 307, 400, 401, 403, 404, 408, 409)),
    *(b"HTTP/1.1 %d X" % status for status in (410, 412, 418, 429, 451, 500, 501, 502, 503, 504, 599, 600, 999)),
    *(b"HTTP/1.0 200 OK", b"HTTP/2 200", b"HTTP/1.1 200", b"HTTP/1.1  200  OK", b"HTTP/9.9 200 OK", b"ICY 200 OK"),
    *(b"HTTP/1.1 0 X", b"HTTP/1.1 99 X", b"HTTP/1.1 -1 X", b"HTTP/1.1 2000 X", b"HTTP/1.1 2e2 X", b"HTTP/1.1"),
    *(b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200 \x1b[31m\xff", b"", b"GET / HTTP/1.1", b"\x16\x03\x01"),
]  # fmt: skip
_EARLY = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"\r\n"]
_HEADER_NAMES = [
    *(b"Content-Type", b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Retry-After", b"Location"),
    *(b"Set-Cookie", b"Connection", b"Upgrade", b"Date", b"Trailer", b"X-A", b"", b" X", b"X Y", b"X\x00", b"\xff"),
]  # fmt: skip
_HEADER_VALUES = [
    *(b"application/json", b"text/html; charset=x", b"0", b"5", b"-1", b"99999999999999999999", b"1, 2", b"1e3"),
    *(b"chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"close", b"keep-alive", b"Upgrade", b""),
    *(b"120", b"1e400", b"nan", b"Sat, 28 Nov 2026 12:00:00 GMT", b"Sat, 99 Nov 99999 12:00:00 GMT", b"\xff\xfe"),
    *(b"http://[::1", b"//x", b"a=b; Domain=x", SECRET.encode(), b"\x1b[31m", b"a\x00b", b"a\rb", b"a" * 9000),
    *("\u202e\u2028".encode(), b"a" * 70_000, b"\xc2\x85", b'"', b";", b"="),
]  # fmt: skip

_headers = st.lists(
    st.builds(lambda name, value: name + b": " + value, st.sampled_from(_HEADER_NAMES), st.sampled_from(_HEADER_VALUES))
    | st.binary(max_size=40),
    max_size=4,
)  # fmt: skip


def _chunked(data: bytes, size: int, ending: bytes) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + ending


_CHUNK_ENDINGS = [
    *(b"0\r\n\r\n",) * 20,
    *(b"0\r\nX: y\r\n\r\n", b"0;a=b\r\n\r\n", b"", b"0\r\n", b"-1\r\n\r\n", b"fffffffffffffffff\r\n", b"zz\r\n\r\n"),
    *(b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n", b"0" * 9000 + b"\r\n\r\n", b"5\r\nab\r\n0\r\n\r\n"),
]  # fmt: skip


@st.composite
def _answers(draw: st.DrawFn) -> tuple[bytes, int]:
    """Bytes that are more or less HTTP, and how long the body is, unpacked."""
    if draw(st.integers(0, 19)) == 19:
        raw = draw(
            st.binary(max_size=300)
            | st.builds(_repeated, st.sampled_from(_UNITS), st.just((b"", b"")), _sizes)
        )
        return raw, len(raw)  # fmt: skip
    body = draw(_bodies)
    unpacked = len(body)
    lines = [draw(st.sampled_from(_STATUS_LINES)), *draw(st.just([]) | _headers)]
    packed = draw(st.integers(0, 19))
    if packed in {16, 17, 18}:
        name, pack = draw(st.sampled_from(_PACKINGS))
        body = pack(body)
        lines.append(b"Content-Encoding: " + name)
    elif packed == 19:
        name, body = _BOMBS[draw(st.sampled_from(sorted(_BOMBS)))]
        unpacked = 9_000_000
        lines.append(b"Content-Encoding: " + name)
    framing = draw(
        st.sampled_from(["length"] * 12 + ["chunked"] * 4 + ["none", "too short", "too long", "both"])
    )
    if framing in {"length", "both", "too short", "too long"}:
        length = len(body) + {"too short": -5, "too long": 5}.get(framing, 0)
        lines.append(b"Content-Length: %d" % max(length, 0))
    if framing in {"chunked", "both"}:
        lines.append(b"Transfer-Encoding: chunked")
        size = draw(st.sampled_from([1, 7, 1000, 100_000]))
        body = _chunked(body, max(size, len(body) // 500), draw(st.sampled_from(_CHUNK_ENDINGS)))
    early = draw(st.sampled_from([b""] * 8 + _EARLY))
    return early + b"\r\n".join([*lines, b"", b""]) + body, unpacked


def _mutated(data: bytes, how: str, seed: int, noise: bytes) -> bytes:
    at = seed % (len(data) + 1)
    match how:
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + noise + data[at:]
        case "replace":
            return data[:at] + noise + data[at + len(noise) :]
        case "twice":
            return data + data
        case _:
            return data


def _timed(data: bytes, how: str, seed: int) -> tuple[tuple[float, bytes], ...]:
    random_ = random.Random(seed)
    if how == "drip":  # the first bytes or the last
        start = random_.choice([0, max(len(data) - 30, 0)])
        each = [(0.005, data[at : at + 1]) for at in range(start, min(start + 30, len(data)))]
        return ((0.0, data[:start]), *each, (0.0, data[start + 30 :]))
    if how == "at once":
        return ((0.0, data),)
    cuts = sorted(random_.randrange(len(data) + 1) for _ in range(4))
    pauses = (0.0, 0.001, 0.02, 0.02, 0.6) if how == "late" else (0.0, 0.001, 0.005, 0.01)
    return tuple(
        (random_.choice(pauses), data[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    )


@st.composite
def attacks(draw: st.DrawFn) -> Attack:
    """Draw an attack."""
    data, unpacked = draw(_answers())
    seeds = st.integers(0, 2**32)
    how = draw(st.sampled_from(["none"] * 16 + ["cut", "insert", "replace", "twice"]))
    data = _mutated(data, how, draw(seeds), draw(st.binary(min_size=1, max_size=8)))
    timing = draw(st.sampled_from(["at once"] * 12 + ["pieces"] * 4 + ["drip", "late"]))
    end = draw(st.sampled_from(["close"] * 12 + ["reset"] * 2 + ["hold"]))
    return Attack(_timed(data, timing, draw(seeds)), end, unpacked)
