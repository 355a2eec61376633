"""A request ends within its time and size limits, whatever the server, the proxy or the token server does."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks import _tokens as tokens
from airflow_provider_operations.hooks._deadline_adapter import BoundedAdapter
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.endless import ENDLESS, Listener, dripping, within
from tests.support.raw_server import RawServer, answer, sends
from tests.support.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hooks import Calls

LIMIT_S = 1.0
MARGIN_S = 6.0
"""Generous: what fails here hangs for as long as the server likes."""

ONCE = Retries(attempts=1)


def ends(calls: Calls, call: str = "get_operation", *args: Any, **kwargs: Any) -> OperationsCallError:
    error = within(LIMIT_S + MARGIN_S, lambda: calls(call, *(args or ("operations/x",)), **kwargs))
    assert isinstance(error, OperationsCallError), error
    assert error.http_status is None
    assert error.failure.sent
    return error


def extra(**others: Any) -> dict[str, Any]:
    return {"extra": {"timeout": LIMIT_S, **others}}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_answers(hook_of: Callable[..., Calls], kind: str) -> None:
    """An answer without end ends at the time limit, or before at the size limit."""
    with dripping(kind) as server:
        error = ends(hook_of(server.url, retries=ONCE, connection=extra()))
    assert error.failure.transient or "longer than" in error.failure.problem


@pytest.mark.parametrize("part", ["status line", "header", "headers"])
def test_a_proxy_that_drips(hook_of: Callable[..., Calls], part: str) -> None:
    """The answer of a proxy to CONNECT counts, too."""
    begin, again = {
        "status line": (b"HTTP/1.1 200 ", b"K"),
        "header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
        "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    }[part]
    made: list[RawServer] = []

    def drip(connection: socket.socket) -> None:
        connection.sendall(begin)
        while not made[0].released.wait(0.02):
            connection.sendall(again)

    with RawServer(drip) as proxy:
        made.append(proxy)
        calls = hook_of("https://example.com", retries=ONCE, connection=extra(proxies=proxy.url))
        ends(calls)
        assert proxy.seen[0].line.startswith("CONNECT example.com:443 ")


def test_a_handshake_that_drips(hook_of: Callable[..., Calls]) -> None:
    """So does the TLS handshake."""

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        # A record of 16 KiB, of which a byte comes now and then.
        listener.drip(connection, itertools.chain([b"\x16\x03\x03\x40\x00"], itertools.repeat(b"\x02")))

    with Listener(serve) as listener:
        ends(hook_of(f"https://127.0.0.1:{listener.port}", retries=ONCE, connection=extra()))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "example.com").configure_cert(context)
    return context


@pytest.mark.filterwarnings(
    "ignore:Sending a large body directly"
)  # aiohttp's, of the time that copying takes
def test_a_server_that_reads_slowly(hook_of: Callable[..., Calls], tls: ssl.SSLContext, bundle: str) -> None:
    """So does sending: a server that takes the body bit by bit ends as well."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with tls.wrap_socket(connection, server_side=True) as wrapped:
            while not listener.released.wait(0.2):
                wrapped.recv(16384)

    with Listener(serve) as listener:
        url = f"https://127.0.0.1:{listener.port}"
        calls = hook_of(url, retries=ONCE, connection=extra(verify=bundle))
        ends(calls, "start_operation", "things", json={"text": "x" * 16_000_000})


@pytest.mark.filterwarnings("ignore:.*TLS in TLS")
def test_a_proxy_behind_tls_that_drips(
    hook_of: Callable[..., Calls], tls: ssl.SSLContext, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does TLS within the TLS of a proxy, which is read bit by bit."""
    reached: list[object] = []

    def serve(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as wrapped:
            while not wrapped.recv(4096).endswith(b"\r\n\r\n"):
                pass
            wrapped.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            reached.append(connection)
            pieces = itertools.chain([b"\x16\x03\x03\x40\x00"], itertools.repeat(b"\x02"))
            for piece in pieces:
                if listener.released.wait(0.02):
                    return
                wrapped.sendall(piece)

    with Listener(serve) as listener:
        proxy = f"https://127.0.0.1:{listener.port}"
        calls = hook_of("https://example.com", retries=ONCE, connection=extra(proxies=proxy, verify=bundle))
        ends(calls)
        assert reached


def test_addresses_that_do_not_answer(hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to connect is one for all addresses of a host, however many it has."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # more than fit: the next ones get no answer
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        real = socket.getaddrinfo

        def many(host: Any, *args: Any, **kwargs: Any) -> Any:
            found = real("127.0.0.1", address[1], type=socket.SOCK_STREAM)
            return found * 30 if host == "many.example" else real(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", many)
        calls = hook_of(f"http://many.example:{address[1]}", retries=ONCE, connection=extra())
        error = within(LIMIT_S + MARGIN_S, lambda: calls("get_operation", "operations/x"))
        for each in waiting:
            each.close()
    assert isinstance(error, OperationsCallError)
    assert (error.http_status, error.failure.transient) == (None, True)


@pytest.mark.parametrize(
    "kind", ["a header", "a chunk's size", "a trailer", "many trailers", "a deflate stream"]
)
def test_what_is_no_part_of_the_body_is_not_kept(hook_of: Callable[..., Calls], kind: str) -> None:
    """What is no part of the body, or unpacks to nothing, isn't kept without bound either."""
    first, piece = {
        "a header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536),
        "a chunk's size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=", b"a" * 65536),
        "a trailer": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: ",
            b"a" * 65536,
        ),
        "many trailers": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            b"a: b\r\n" * 10000,
        ),
        "a deflate stream": (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x78\x9c",
            b"\x00\x00\x00\xff\xff" * 13000,
        ),
    }[kind]

    def flood(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(1024):
            connection.sendall(piece)

    with RawServer(flood) as server:
        calls = hook_of(server.url, retries=ONCE, connection={"extra": {"timeout": 20}})
        tracemalloc.start()
        try:
            error = within(40, lambda: calls("get_operation", "operations/x"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(error, OperationsCallError), error
    assert peak < 48 * 1024 * 1024


# --- whoever asks ----------------------------------------------------------------------------------------------


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connection ``ops``."""

    def connect(url: str, **others: Any) -> None:
        set_connection(monkeypatch, url, "ops", **extra(**others))

    return connect


async def test_a_trigger_gives_up_after_its_tolerance(connect: Callable[..., None]) -> None:
    """A trigger whose server never comes to an end gives up after its outage tolerance."""
    with dripping("trailers") as server:
        connect(server.url)
        trigger = OperationTrigger("operations/x", operations_conn_id="ops", outage_tolerance_s=1)
        (event,) = [event async for event in trigger.run()]
    outcome = json.loads(event.payload["outcome"])
    assert (outcome["kind"], outcome["waited_s"] < 1 + LIMIT_S + MARGIN_S) == ("unreachable", True)


def test_in_a_forked_process(connect: Callable[..., None]) -> None:
    """A process that Airflow has forked from one that has made requests has the same limits."""
    import multiprocessing

    with dripping("trailers") as server, RawServer(lambda s: s.sendall(answer())) as quick:
        connect(quick.url)
        with OperationsHook("ops", retries=ONCE) as hook:
            hook.get_operation("operations/x")
        connect(server.url)
        process = multiprocessing.get_context("fork").Process(target=_fails, daemon=True)
        process.start()
        process.join(LIMIT_S + MARGIN_S)
        assert process.exitcode == 0


def _fails() -> None:
    with OperationsHook("ops", retries=ONCE) as hook, pytest.raises(OperationsCallError):
        hook.get_operation("operations/x")


# --- token servers ---------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are waited for as briefly as answers are here."""
    tokens._source.cache_clear()
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT_S", LIMIT_S)


@pytest.fixture
def keys() -> Iterator[TokenServer]:
    """Has the key of a service account."""
    with TokenServer() as server:
        yield server


def credentials(kind: str, token_url: str, key: TokenServer) -> dict[str, Any]:
    if kind == "oauth2":
        extra = {"auth": "oauth2", "token_url": token_url}
        return {"login": "the-client", "password": "CLIENT-SECRET", "extra": extra}
    of_robot = {**key.service_account(), "token_uri": token_url}
    return {"extra": {"auth": "google", "keyfile_dict": of_robot, "allowed_hosts": ["127.0.0.1"]}}


KINDS = pytest.mark.parametrize("kind", ["google", "oauth2"])


@KINDS
@pytest.mark.parametrize("endless", ["trailers", "header", "empty deflate blocks, fast"])
def test_a_token_server_without_end_is_given_up(
    hook_of: Callable[..., Calls], impatient: None, keys: TokenServer, kind: str, endless: str
) -> None:
    """A token server that never comes to an end is given up as a service is; no request is sent without a token."""
    with dripping(endless) as token_server, RawServer(lambda s: s.sendall(answer())) as service:
        fields = credentials(kind, token_server.url, keys)
        calls = hook_of(service.url, retries=ONCE, connection=fields)
        error = within(LIMIT_S + MARGIN_S, lambda: calls("get_operation", "operations/x"))
        assert isinstance(error, OperationsCallError), error
        assert "no token" in error.failure.problem
        assert (error.failure.sent, error.failure.transient) == (False, True)
        assert service.seen == []


@KINDS
def test_a_token_server_that_floods(hook_of: Callable[..., Calls], keys: TokenServer, kind: str) -> None:
    """The answer of a token server has the same largest size."""
    tokens._source.cache_clear()

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b" " * 65536)

    with RawServer(flood) as server:
        calls = hook_of(server.url, retries=ONCE, connection=credentials(kind, server.url, keys))
        tracemalloc.start()
        try:
            error = within(40, lambda: calls("get_operation", "operations/x"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(error, OperationsCallError), error
    assert "longer than" in error.failure.problem
    assert peak < 48 * 1024 * 1024


@KINDS
@pytest.mark.parametrize("lasts_s", [0, -3600])
def test_tokens_that_have_ended(hook_of: Callable[..., Calls], kind: str, lasts_s: int) -> None:
    """A token that is said to have no life is used for some seconds: not one is fetched for each request."""
    tokens._source.cache_clear()
    with TokenServer(lasts_s) as server:
        calls = hook_of(server.url, connection=credentials(kind, server.token_url, server))
        for _ in range(5):
            calls("get_operation", "operations/x")
        assert len(server.issued) == 1


@KINDS
async def test_trigger_without_token(
    monkeypatch: pytest.MonkeyPatch, keys: TokenServer, kind: str, request: pytest.FixtureRequest
) -> None:
    """A trigger whose token never comes, not even by a fetch that hangs for good, ends after its tolerance."""
    tokens._source.cache_clear()
    released = threading.Event()
    request.addfinalizer(released.set)
    monkeypatch.setattr(tokens, "WAIT_S", LIMIT_S)
    monkeypatch.setattr(tokens.TokenSource, "_renew", lambda *_: released.wait(60))
    fields = credentials(kind, "https://127.0.0.1:1", keys)
    set_connection(monkeypatch, "http://127.0.0.1:1", "ops", **fields)
    trigger = OperationTrigger("operations/x", operations_conn_id="ops", outage_tolerance_s=1)
    (event,) = [event async for event in trigger.run()]
    outcome = json.loads(event.payload["outcome"])
    assert (outcome["kind"], outcome["waited_s"] < 1 + LIMIT_S + MARGIN_S) == ("unreachable", True)


def test_google_redirects(hook_of: Callable[..., Calls], keys: TokenServer) -> None:
    """What is shown to Google's token server isn't carried on to where that redirects."""
    tokens._source.cache_clear()
    with RawServer(lambda s: s.sendall(answer())) as other:
        redirect = answer(307, b"{}", {"Location": other.url})
        with RawServer(lambda s: s.sendall(redirect)) as server:
            fields = credentials("google", server.url, keys)
            calls = hook_of(server.url, retries=ONCE, connection=fields)
            error = within(40, lambda: calls("get_operation", "operations/x"))
        assert isinstance(error, OperationsCallError), error
        assert other.seen == []


def test_connections_are_kept_alive() -> None:
    """As by Airflow's own HTTP hook, TCP notices when the other end is gone."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with RawServer(sends(whole)) as server, requests.Session() as session:
        session.mount("http://", BoundedAdapter())
        response: Any = session.get(server.url, stream=True, timeout=5)
        sock = response.raw.connection.sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
        response.close()
