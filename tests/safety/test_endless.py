"""Lists that never end, and answers before the answer."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.cli import commands
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks import _base as hook_calls
from tests.support.commands import run
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.support.commands import Ended
    from tests.support.hooks import Calls

    from .conftest import Told

__all__ = ["run"]


@pytest.fixture
def endless() -> Iterator[RawServer]:
    """A server that always has another page."""
    tokens = itertools.count()

    def page(connection: socket.socket) -> None:
        operations = [{"name": "operations/x", "metadata": {"a": "x" * 1000}}]
        body = {"operations": operations, "nextPageToken": f"token-{next(tokens)}"}
        connection.sendall(answer(body=json.dumps(body).encode()))

    with RawServer(page) as server:
        yield server


def test_pages_without_end_are_an_error(
    endless: RawServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many pages it's an error that says so, and no retry would help."""
    monkeypatch.setattr(hook_calls, "MAX_PAGES", 5)
    with pytest.raises(OperationsCallErrorFinal) as raised:
        hook_of(endless.url).list("projects/p")
    assert "the list has more than 5 pages; give a filter, or a larger page size" in str(raised.value)
    assert len(endless.seen) == 5


def test_as_many_pages_as_are_allowed(hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of exactly so many pages is read."""
    monkeypatch.setattr(hook_calls, "MAX_PAGES", 5)
    tokens = iter(["a", "b", "c", "d", ""])

    def page(connection: socket.socket) -> None:
        body = {"operations": [{"name": "operations/x"}], "nextPageToken": next(tokens)}
        connection.sendall(answer(body=json.dumps(body).encode()))

    with RawServer(page) as server:
        assert len(hook_of(server.url).list("projects/p")) == 5


def test_the_bound_is_as_documented() -> None:
    """Ten thousand, as the documentation says."""
    assert hook_calls.MAX_PAGES == 10_000
    assert commands.MAX_LISTED_CHARS == 64 * 2**20


def test_whoever_stops_reading_stops_the_list(endless: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked ahead: two operations of pages with one each are two requests."""
    set_connection(monkeypatch, endless.url, "ops")
    with OperationsHook("ops") as hook:
        assert len([*itertools.islice(hook.list_operations("projects/p"), 2)]) == 2
    assert len(endless.seen) == 2


def test_a_token_of_megabytes_is_not_sent_back(hook_of: Callable[..., Calls]) -> None:
    """A token of megabytes isn't sent back."""
    body = json.dumps({"nextPageToken": "x" * 1_000_000}).encode()
    with RawServer(sends(answer(body=body))) as server:
        with pytest.raises(OperationsCallErrorFinal, match="its nextPageToken has 1000000 characters"):
            hook_of(server.url).list("projects/p")
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("option", "code", "requests"),
    [
        pytest.param((), 3, 5, id="pages"),
        pytest.param(("--limit", "3"), 0, 3, id="limit"),
    ],
)
def test_a_command_ends_and_prints_nothing(
    endless: RawServer,
    run: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[str, ...],
    code: int,
    requests: int,
) -> None:
    """The command ends, too, and prints nothing of a list that it couldn't read."""
    monkeypatch.setattr(hook_calls, "MAX_PAGES", 5)
    set_connection(monkeypatch, endless.url, "ops")
    ended = run("list", "projects/p", "--conn-id", "ops", "-o", "json", *option)
    assert (ended.code, len(endless.seen)) == (code, requests)
    assert bool(ended.stdout) == (code == 0)
    assert ("more than 5 pages" in ended.stderr) == (code == 3)


def test_a_command_keeps_no_more_than_it_can_print(
    endless: RawServer, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no more than it can print."""
    monkeypatch.setattr(commands, "MAX_LISTED_CHARS", 2500)
    set_connection(monkeypatch, endless.url, "ops")
    ended = run("list", "projects/p", "--conn-id", "ops")
    assert (ended.code, ended.stdout, len(endless.seen)) == (3, "", 3)
    assert "of operations are listed; give --limit or --filter" in ended.stderr


# --- before the answer -------------------------------------------------------------------------------------------

EARLY = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
    "several": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\nX: a\r\n\r\nHTTP/1.1 199 X\r\n\r\n",
}


@pytest.mark.parametrize("early", EARLY)
def test_answers_before_the_answer(ask: Callable[..., Told], early: str) -> None:
    """They say nothing of the operation, and are skipped."""
    with RawServer(sends(EARLY[early] + answer())) as server:
        told = ask(host=server.url)
    assert told.operation is not None, told.problem
    assert told.operation.name == "operations/x"


def test_nothing_but_answers_before_the_answer(hook_of: Callable[..., Calls]) -> None:
    """A server that goes on so is given up; else this would not end."""

    def early(connection: socket.socket) -> None:
        while not server.released.wait(0.01):
            connection.sendall(EARLY["102"])

    with RawServer(early) as server:
        calls = hook_of(server.url, retries=Retries(attempts=1), connection={"extra": {"timeout": 0.5}})
        with pytest.raises(OperationsCallError) as raised:
            calls("get_operation", "operations/x")
    assert (raised.value.http_status, raised.value.failure.transient) == (None, True)


def test_another_protocol_is_no_answer(hook_of: Callable[..., Calls]) -> None:
    """101 says that the connection speaks something else from now on: nothing was asked for, so it's a failure."""
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\n\r\n"
    with RawServer(sends(switched)) as server, pytest.raises(OperationsCallError):
        hook_of(server.url, retries=Retries(attempts=1))("get_operation", "operations/x")
