"""
What is private in others and used all the same: see docs/private-apis.md.

Each test fails when an upgrade takes away what the page's row with its name tells of.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import os
import re
import socket
import ssl
import warnings
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator
from airflow.providers.http.hooks.http import HttpHook
from urllib3.connection import HTTPSConnection

import airflow_provider_operations
from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks._client import SharedClient
from airflow_provider_operations.hooks._deadline_adapter import _Connection, _Limits, _Response
from airflow_provider_operations.hooks._informational import FinalResponse
from airflow_provider_operations.hooks._reuse import PIECE_BYTES, _Handler
from tests.versions import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PACKAGE = Path(airflow_provider_operations.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "private-apis.md"

SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)


@asynccontextmanager
async def serving(
    data: bytes, times: int = 99, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer so many requests, however many on one connection; yield the URL and what came."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while len(seen) <= times:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                if len(seen) <= times:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/", seen


# --- aiohttp, asyncio -------------------------------------------------------------------------------------------


async def test_retry_connection() -> None:
    """A request whose answer is lost on a connection that was used before isn't sent again by aiohttp."""
    async with serving(SHORT, times=1) as (url, seen), SharedClient.new_session() as session:
        assert session._retry_connection is False
        async with session.get(url) as response:
            assert await response.read() == b"ok"
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(url)
        assert len(seen) == 2


async def test_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp makes connections by ``_factory``, takes a used one by ``_get`` and returns it by ``_release``."""
    taken: list[_Handler] = []
    begin = _Handler.begin

    def begun(handler: _Handler) -> None:
        taken.append(handler)
        begin(handler)

    monkeypatch.setattr(_Handler, "begin", begun)
    async with serving(SHORT) as (url, seen), SharedClient.new_session() as session:
        for _ in range(2):
            async with session.get(url) as response:
                await response.read()
        assert len(seen) == 2
        (handler,) = taken  # the second request's: the first has a new connection
        assert handler.idle


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
async def test_max_size(monkeypatch: pytest.MonkeyPatch, with_tls: bool) -> None:
    """What arrives is read in small pieces; with TLS, with what is left of the one before."""
    pieces: list[int] = []
    received = _Handler.data_received

    def arrived(handler: _Handler, data: bytes) -> None:
        pieces.append(len(data))
        received(handler, data)

    monkeypatch.setattr(_Handler, "data_received", arrived)
    tls = checks = None
    if with_tls:
        authority = trustme.CA()
        tls, checks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.configure_trust(checks)
    async with (
        serving(LONG, tls=tls) as (url, _),
        SharedClient.new_session() as session,
        session.get(url, ssl=checks or True) as response,
    ):
        assert len(await response.read()) == 300_000
    assert max(pieces) <= PIECE_BYTES * (2 if with_tls else 1)


# --- http.client, urllib3 ---------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that are connected."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def test_read_status(pair: tuple[socket.socket, socket.socket]) -> None:
    """``begin`` reads every head's first line by ``_read_status``."""
    ours, theirs = pair
    theirs.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SHORT)
    response = FinalResponse(ours, method="GET")
    response.begin()
    assert (response.status, response.read()) == (200, b"ok")


def test_fp(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is read from ``fp``, so that head and body are counted."""
    counted: list[int] = []
    monkeypatch.setattr(_Limits, "count", lambda _, read: counted.append(read))
    ours, theirs = pair
    theirs.sendall(SHORT)
    response = _Response(ours, method="GET")
    response.begin()
    assert (response.read(), sum(counted)) == (b"ok", len(SHORT))


def test_new_conn(monkeypatch: pytest.MonkeyPatch) -> None:
    """``connect`` opens its socket by ``_new_conn``, which goes where ``_dns_host`` says."""
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def looked_up(host: str, *args: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1" if host == "operations.example." else host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = _Connection("operations.example.", listener.getsockname()[1], timeout=5)
        with closing(connection):
            connection.connect()
            assert asked == ["operations.example.", "127.0.0.1"]
            assert connection._dns_host == "operations.example."


def test_connect_tls_proxy() -> None:
    """``connect`` asks ``_connect_tls_proxy`` for the outer of two TLS streams."""
    assert list(inspect.signature(HTTPSConnection._connect_tls_proxy).parameters) == [
        "self",
        "hostname",
        "sock",
    ]
    assert "_connect_tls_proxy" in HTTPSConnection.connect.__code__.co_names


# --- Airflow and its http provider ------------------------------------------------------------------------------


def test_base_url_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    """``HttpHook`` makes URLs of ``base_url``, without a look-up of its own."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_OPS", json.dumps({"conn_type": "operations", "host": "https://api.example.com"})
    )
    with OperationsHook("ops") as hook:
        assert hook._base_url_initialized is False
        assert hook.settings
        monkeypatch.delenv("AIRFLOW_CONN_OPS")
        assert hook.url_from_endpoint("v1/x") == "https://api.example.com/v1/x"
    assert "_base_url_initialized" in HttpHook.url_from_endpoint.__code__.co_names


def test_post_execute_hook() -> None:
    """An operator keeps its argument ``post_execute`` there."""

    def after(context: Any, result: Any) -> None: ...

    assert BaseOperator(task_id="t", post_execute=after)._post_execute_hook is after
    assert BaseOperator(task_id="t")._post_execute_hook is None


def test_do_render_template_fields() -> None:
    """Airflow renders by it, with the task itself as ``parent``; mapped tasks, too, see ``tests/tasks/test_api_method.py``."""
    rendered: list[Any] = []

    class Operator(BaseOperator):
        template_fields = ("text",)

        def __init__(self, *, text: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.text = text

        def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
            super()._do_render_template_fields(parent, *args, **kwargs)
            rendered.append((parent is self, self.text))

    context: Any = {"word": "said"}
    Operator(task_id="t", text="{{ word }}").render_template_fields(context)
    assert rendered == [(True, "said")]


def test_get_next_poke_interval() -> None:
    """A sensor tells the pause for a start as epoch seconds, what has passed and how often it has poked."""
    sensor = BaseSensorOperator(task_id="t", poke_interval=10, exponential_backoff=True, max_wait=60)
    pauses = [float(sensor._get_next_poke_interval(1.8e9, lambda: 5.0, polls)) for polls in (1, 20)]
    assert 0 < pauses[0] < pauses[1] <= 60


@pytest.mark.skipif(AIRFLOW >= (3, 0), reason="since Airflow 3.0 the context's task instance tells it")
def test_orig_start_date() -> None:
    """It takes what names a task instance, by place, and the first try that counts."""
    found = importlib.import_module("airflow.sensors.base")._orig_start_date
    parameters = list(inspect.signature(found).parameters)
    assert parameters[:5] == ["dag_id", "task_id", "run_id", "map_index", "try_number"]


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="before Airflow 3.0 the database is asked")
def test_get_task_states() -> None:
    """It is a function of these arguments, without an object."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    asked = {"dag_id", "map_index", "task_ids", "run_ids"}
    assert asked <= set(inspect.signature(RuntimeTaskInstance.get_task_states).parameters)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before Airflow 3.3 nothing is kept for an asset")
def test_by_name() -> None:
    """The state store of several assets has one for each, by the asset's name."""
    from airflow.sdk import Asset
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    stores = AssetStateStoreAccessors([Asset("a"), Asset("b")])
    assert sorted(stores._by_name) == ["a", "b"]
    assert all(hasattr(store, method) for store in stores._by_name.values() for method in ("aget", "aset"))


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="before Airflow 3.1 the variable isn't read")
@pytest.mark.parametrize(("process", "asks"), [("server", True), ("client", False)])
def test_airflow_process_context(monkeypatch: pytest.MonkeyPatch, process: str, asks: bool) -> None:
    """The variable decides whether a connection is looked up in the database."""
    from airflow.sdk.execution_time import supervisor

    monkeypatch.setitem(os.environ, "_AIRFLOW_PROCESS_CONTEXT", process)
    backends = [type(backend).__name__ for backend in supervisor.ensure_secrets_backend_loaded()]
    assert ("MetastoreBackend" in backends) is asks


# --- uvicorn ----------------------------------------------------------------------------------------------------


def test_tracked_protocol() -> None:
    """uvicorn takes a class for its protocol, which knows its ``client`` once it is connected."""
    with Emulator() as emulator:
        host, port = emulator.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /v1/operations/x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(8) == b"HTTP/1.1"
            assert emulator._server is not None
            assert client.getsockname() in emulator._server._open


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 or later has it")
def test_state_ref() -> None:
    """A worker with a state backend of its own stores a reference under this key."""
    context: Any = importlib.import_module("airflow.sdk.execution_time.context")
    assert context._wrap_external_ref("x") == {"__airflow_state_ref__": "x"}


def test_initializing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells a module that is being imported."""
    (tmp_path / "in_the_midst.py").write_text("SEEN = [__spec__._initializing]\n")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("in_the_midst")
    assert module.SEEN == [True]
    assert not module.__spec__._initializing


# --- the page ---------------------------------------------------------------------------------------------------


def rows(section: str) -> Iterator[list[str]]:
    """Cells of the table in a section of the page."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:])


def test_the_page_and_these_tests_agree() -> None:
    """Each row names the test that fails, and each test here has a row."""
    named = {row[-1].strip("`") for row in rows("Private names")}
    ours = {name for name in globals() if name.startswith("test_")}
    of_the_page = {name for name in ours if "_page" in name or "_modules" in name}
    assert named == ours - of_the_page


def _private_names() -> Iterator[tuple[str, str]]:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    ours = {"_asdict", "_replace"}  # public: of named tuples
    for _, node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            ours.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            ours.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            ours |= {node.attr} if ast.unparse(node.value) in {"self", "cls"} else set()
    for path, node in nodes:
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            by_inheritance = isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()"
            if node.attr not in ours or by_inheritance:
                yield path.name, node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PACKAGE.name):
            yield from ((path.name, each.name) for each in node.names if re.match(r"_[a-z]", each.name))


def test_the_page_has_every_private_name() -> None:
    """An attribute or import with an underscore that isn't defined in this package is on the page."""
    page = PAGE.read_text(encoding="utf-8")
    calls_of_ours = {
        "_api_arguments",
        "_call",
        "_deliver",
        "_deliver_timeout_of_trigger",
        "_ends_in",
        "_is_final",
    }
    found = {name for name in _private_names() if name[1] not in calls_of_ours}
    assert len(found) > 8
    assert {name for name in found if f"`{name[1]}`" not in page and f".{name[1]}`" not in page} == set()


INTERNAL = [
    pytest.param(path, row[1], id=path)
    for row in rows("Modules")
    for path in re.findall(r"`([\w.]+\.\w+)`", row[0])
]


@pytest.mark.parametrize(("path", "since"), INTERNAL)
def test_internal_modules(path: str, since: str) -> None:
    """What isn't private by its name, but no promise either, is where the page says."""
    if since != "all" and tuple(map(int, since.split("."))) > AIRFLOW:
        pytest.skip(f"Airflow {since} or later has it")
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what else they import
        assert hasattr(importlib.import_module(module), name)
