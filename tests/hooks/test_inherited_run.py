"""``run``, which the hooks inherit from Airflow's http provider: users of its connections know it."""

from __future__ import annotations

import json

import aiohttp
import pytest

from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from tests.support.raw_server import RawServer, answer, sends

OPERATION = {"name": "operations/x"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> RawServer:
    """A server that answers with an operation, and the connection ``ops`` to it with a token."""
    server = RawServer(sends(answer(headers={"Content-Type": "application/json"})))
    fields = {"conn_type": "operations", "host": server.url, "password": "TOKEN", "extra": {"timeout": 20}}
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(fields))
    return server


def test_run(server: RawServer) -> None:
    """The synchronous hook sends to the connection's host, with its credentials, by our session."""
    with server, OperationsHook("ops") as hook:
        hook.method = "GET"
        response = hook.run("v1/operations/x", data={"view": "FULL"})
        assert response.json() == OPERATION
    (seen,) = server.seen
    assert seen.line == "GET /v1/operations/x?view=FULL HTTP/1.1"
    assert seen.all("authorization") == ["Bearer TOKEN"]


async def test_run_async(server: RawServer) -> None:
    """The asynchronous hook does, too; by a session of the caller."""
    with server:
        async with OperationsAsyncHook("ops") as hook, aiohttp.ClientSession() as session:
            hook.method = "GET"
            response = await hook.run(session, "v1/operations/x", data={"view": "FULL"})
            assert await response.json() == OPERATION
    (seen,) = server.seen
    assert seen.line == "GET /v1/operations/x?view=FULL HTTP/1.1"
    assert seen.all("authorization") == ["Bearer TOKEN"]


async def test_a_redirect_is_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hook's ``run`` follows a redirect: a connection's own headers would go along."""
    elsewhere = RawServer(sends(answer()))
    with elsewhere, RawServer(sends(answer(302, headers={"Location": f"{elsewhere.url}/x"}))) as server:
        fields = {
            "conn_type": "operations",
            "host": server.url,
            "extra": {"headers": {"X-Api-Key": "SECRET"}, "timeout": 20},
        }
        monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(fields))
        with OperationsHook("ops") as hook:
            hook.method = "GET"
            assert hook.run("v1/operations/x").status_code == 302
        async with OperationsAsyncHook("ops") as asynchronous, aiohttp.ClientSession() as session:
            asynchronous.method = "GET"
            assert (await asynchronous.run(session, "v1/operations/x")).status == 302
    assert len(server.seen) == 2
    assert elsewhere.seen == []
