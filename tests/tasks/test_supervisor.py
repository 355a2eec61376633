"""What a trigger asks of Airflow goes through Airflow's own wire to its supervisor, and must leave it in order."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from airflow.jobs import triggerer_job_runner
from airflow.sdk.execution_time import task_runner

from airflow_provider_operations._airflow.compat import mask_secret
from airflow_provider_operations.hooks import _tokens as tokens
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.token_server import CLIENT, TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING = {"type": "TriggerStateSync", "to_create": [], "to_cancel": []}
"""What a supervisor answers that has no news of triggers."""


class Supervisor:
    """
    The other end of a triggerer's socket; answers everything, and takes 20 ms for it.

    :param ours: the triggerer's end.
    """

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._answer_all, daemon=True)
        self._thread.start()

    def _answer_all(self) -> None:
        with self._theirs, self._theirs.makefile("rb") as frames:
            while len(length := frames.read(4)) == 4:
                number, body, *_ = msgspec.msgpack.decode(frames.read(int.from_bytes(length, "big")))
                self.asked.append(body["type"])
                time.sleep(0.02)  # answers that are there at once are read in order even by two loops
                answer = NOTHING if body["type"] == "TriggerStateChanges" else None
                frame = msgspec.msgpack.encode([number, answer, None])
                self._theirs.sendall(len(frame).to_bytes(4, "big") + frame)

    def close(self) -> None:
        self.ours.close()
        self._thread.join(5)


async def rounds(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, trigger: OperationTrigger) -> Any:
    """Do what a triggerer does each second, until the trigger has its event and a bit longer; return the event."""
    reader, writer = await asyncio.open_connection(sock=supervisor.ours.dup())
    decoder = triggerer_job_runner.TriggerCommsDecoder(
        socket=supervisor.ours, async_writer=writer, async_reader=reader
    )
    if hasattr(decoder, "start_reader"):
        await decoder.start_reader()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", decoder, raising=False)

    async def event() -> Any:
        async for one in trigger.run():
            return one.payload
        raise AssertionError("no event")

    running = asyncio.create_task(event())
    changes = triggerer_job_runner.messages.TriggerStateChanges(events=None, finished=None, failures=None)
    try:
        left = 5  # an answer that nobody has read shows up a round or two later
        while left:
            left -= running.done()
            await asyncio.wait_for(decoder.asend(changes), 10)
            await asyncio.sleep(0.01)
        return running.result()
    finally:
        running.cancel()
        if (reading := getattr(decoder, "_reader_task", None)) is not None:
            reading.cancel()
        writer.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server


@pytest.mark.parametrize("kind", ["bearer", "oauth2", "gcp_conn_id"])
async def test_secrets_reach_the_masker_and_the_triggerer_goes_on(
    supervisor: Supervisor, server: TokenServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """
    Passwords and tokens are told to the masker, the supervisor's too, and the triggerer goes on.

    Before Airflow 3.2.1 a call from a thread that Airflow doesn't know of left its answer unread, and the triggerer
    ended with "Response read out of order".
    """
    by_kind: dict[str, dict[str, Any]] = {
        "bearer": {"password": server.issue()},
        "oauth2": {
            "login": CLIENT[0],
            "password": CLIENT[1],
            "extra": {"auth": "oauth2", "token_url": server.token_url},
        },
        "gcp_conn_id": {"extra": {"gcp_conn_id": "g", "allowed_hosts": "127.0.0.1"}},
    }
    set_connection(monkeypatch, server.url, **by_kind[kind])

    def of_google_provider(conn_id: str) -> Any:
        mask_secret("what the connection has")  # as looking a connection up does, the provider isn't here
        token = server.issue()
        return SimpleNamespace(
            token=token,
            expiry=None,
            refresh=lambda _: None,
            apply=lambda headers: headers.update({"Authorization": f"Bearer {token}"}),
        )

    monkeypatch.setattr(tokens, "_of_google_provider", of_google_provider)

    payload = await rounds(supervisor, monkeypatch, OperationTrigger("operations/x", poke_interval=1.0))

    assert json.loads(payload["outcome"])["kind"] == "done"
    assert supervisor.asked.count("MaskSecret") >= 1
    assert supervisor.asked.count("TriggerStateChanges") >= 2
