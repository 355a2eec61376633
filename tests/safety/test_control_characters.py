"""What a server says steers no terminal, forges no line of a log, and hides nothing by reading backwards."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.readers import read_json
from airflow_provider_operations._protocol.rendering import one_line, printable
from airflow_provider_operations._protocol.request import InvalidName, Request, Service
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.exceptions import OperationsCallError, error_of_call
from airflow_provider_operations.operation import Code, Status
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hooks import Calls

    from .conftest import Told

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
STEERING = f"\x1b[31m\x00\x07\x7f\x9b\u2028\u2029{BIDI}"
BAD = re.compile(f"[{re.escape(STEERING.replace('[31m', ''))}]")
LINE = "\nFORGED: line\r\n"


def clean(text: str) -> None:
    """Assert that a text shows nothing but itself."""
    assert not BAD.search(text), ascii(text)
    assert not re.search("^FORGED", text, re.MULTILINE), ascii(text)


def with_content_type(value: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\nContent-Type: "
        + value
        + b"\r\n\r\n<html>"
    )


KEY = STEERING + LINE
SAID = {
    "content-type": with_content_type(b"text/\x1b[31m\x9b\xe2\x80\xae" + "\u200f".encode()),
    "folded-content-type": with_content_type(b"text/a\r\n FORGED: line"),
    "keys": answer(body=json.dumps({KEY: 1, "b" + KEY: 2}).encode()),
    "error-keys": answer(403, json.dumps({"error": {"message": KEY, KEY: 1}}).encode()),
    "message": answer(404, json.dumps({"error": {"code": 404, "message": KEY, "status": KEY}}).encode()),
    "location": answer(302, b"", {"Location": "http://x/\x1b[31m\u202e".encode().decode("latin-1")}),
    "name-type": answer(body=json.dumps({"name": [KEY]}).encode()),
    "body": answer(body=b"<html>\x1b[31m" + KEY.encode()),
}


@pytest.mark.parametrize("said", SAID)
def test_what_a_server_says(
    ask: Callable[..., Told], said: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever a server puts control characters or line breaks, who asks gets text in which they are spelled out."""
    with RawServer(sends(SAID[said])) as server, caplog.at_level(logging.INFO):
        told = ask(host=server.url)
    assert told.problem
    clean(told.problem)
    clean(caplog.text)
    clean("".join(capsys.readouterr()).replace("\x1b[0m", ""))


@pytest.mark.parametrize("char", BIDI, ids=ascii)
def test_names_that_turn_the_reading_direction_are_refused(ask: Callable[..., Told], char: str) -> None:
    """A name with a character that turns its reading direction is refused, whoever asks."""
    with RawServer(sends(answer())) as server:
        told = ask(f"operations/{char}x", host=server.url)
        assert [seen.line for seen in server.seen if "/v1/operations/" in seen.line] == []
    assert "in it; queries go into 'query'" in told.problem
    clean(told.problem)


def test_a_started_name_that_reads_backwards(hook_of: Callable[..., Calls]) -> None:
    """A service that calls its operation so gets no further: nobody could ask for it."""
    body = json.dumps({"name": "operations/\u202ex"}).encode()
    with RawServer(sends(answer(body=body))) as server, pytest.raises(OperationsCallError) as refused:
        hook_of(server.url)("start_operation", "x:run")
    assert "the answer's operation can't be asked for" in str(refused.value)
    clean(str(refused.value))


def test_where_a_failure_is_made() -> None:
    """Its line is made there, for logs, exceptions and events alike; the message that repeats it is the same."""
    raw = f"a{KEY}b"
    made = CallFailure(
        "GET", f"http://h/{KEY}", None, Status(Code.UNKNOWN, raw), raw, headers={"location": KEY}
    )
    for text in (
        made.problem,
        made.url,
        made.status.message,
        made.headers["location"],
        str(error_of_call(made)),
    ):
        clean(text)
        assert "\n" not in text
    assert made.problem == made.status.message


def test_a_failure_out_of_an_event() -> None:
    """What comes out of Airflow's database, where others may have written it, is neutralised as well."""
    request = Request("GET", "/v1/x", read=read_json)
    failure = CallFailure.no_answer(request, "http://h", "gone", sent=True)
    event = Outcome(Kind.CALL_FAILED, "operations/x", failure=failure).to_event()
    event["outcome"] = event["outcome"].replace('"gone"', json.dumps(KEY))
    clean(str(error_of_call(Outcome.from_event(event).failure or failure)))


@pytest.mark.parametrize("text", ["", "a", "a\n\tb", "x" * 1000, "x" * 1001, "\x1b" * 999, "\u202e" * 5000])
def test_one_line_is_bounded_and_stable(text: str) -> None:
    """One line is at most as long as allowed, says what is missing, and stays as it is when made again."""
    line = one_line(text)
    assert len(line) <= 1000
    assert one_line(line) == line
    assert ("more characters)" in line) == (len(printable(text)) > 1000)


@pytest.mark.parametrize("char", BIDI, ids=ascii)
def test_characters_that_turn_the_direction_are_spelled_out(char: str) -> None:
    """Every character that turns the direction is spelled out."""
    assert printable(f"a{char}b") == f"a\\x{ord(char):02x}b"


def test_parents_and_paths_pass_the_check_of_names() -> None:
    """They pass the same check as names."""
    service = Service("https://h.example")
    for char in BIDI:
        with pytest.raises(InvalidName):
            service.start_operation(f"x{char}")
        with pytest.raises(InvalidName):
            service.list_operations(f"x{char}", None, None, None)
