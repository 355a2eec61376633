"""
The network that goes wrong on command: an HTTP proxy before Airflow's execution API, TCP proxies before the server.

All of them live on one event loop in a thread of the suite. Each fault is about one round, so that rounds side by
side don't disturb each other.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
    T = TypeVar("T")

__all__ = ["ApiFault", "ApiProxy", "Line", "Network"]

CHUNK_BYTES = 64 * 1024
HALF_BYTES = 40
_HEAD_END = b"\r\n\r\n"
_TASK_INSTANCE = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")


class Network:
    """An event loop in a thread, for proxies."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._servers: set[asyncio.Server] = set()

    async def listen(self, serve: Serve, port: int = 0) -> asyncio.Server:
        """Start to serve."""
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        self._servers.add(server)
        return server

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        """End every proxy."""
        self.do(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _cancel_all(self) -> None:
        for server in self._servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in the loop's next turns


# --- Airflow's execution API -----------------------------------------------------------------------------------


@dataclass
class ApiFault:
    """
    What happens to a round's calls of the execution API.

    :param path: part of the path, as a regular expression.
    :param body: part of the body, as a regular expression.
    :param hold_s: the call is kept so long before it goes on, or until ``released``.
    :param refuse: the connection is closed without an answer, and the call doesn't arrive.
    :param status: answered instead of Airflow, and the call doesn't arrive.
    :param lose_answer: the call arrives, and the connection is closed without an answer.
    :param for_s: the fault lasts so long from the first call that it hits.
    :param times: it hits so many calls.
    :param once_met: another fault, which has to have hit before.
    :param fired: calls it has hit.
    """

    method: str = ""
    path: str = ""
    body: str = ""
    hold_s: float = 0.0
    refuse: bool = False
    status: int | None = None
    lose_answer: bool = False
    for_s: float | None = None
    times: int | None = None
    once_met: ApiFault | None = None
    fired: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    first_s: float | None = None

    async def hold(self) -> None:
        """Keep a call."""
        if self.hold_s:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.released.wait(), self.hold_s)

    def hits(self, method: str, path: str, body: str) -> bool:
        """Count a call and tell whether it goes wrong."""
        now = time.monotonic()
        if self.once_met is not None and not self.once_met.fired:
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        if self.for_s is not None and self.first_s is not None and now > self.first_s + self.for_s:
            return False
        if (
            self.method not in ("", method)
            or not re.search(self.path, path)
            or not re.search(self.body, body)
        ):
            return False
        self.first_s = self.first_s or now
        self.fired += 1
        return True


class ApiProxy:
    """
    Forward each call to the API server, one to a connection, unless a fault of its round says otherwise.

    Whose a call is, the path tells by the run's id or by the task instance's, and the run of a task instance is read
    from the answer to its first call, ``PATCH …/run``.

    :param target: ``http://127.0.0.1:PORT`` of the API server.
    """

    def __init__(self, network: Network, target: str) -> None:
        self._network = network
        self._target = urlsplit(target)
        self._faults: dict[str, list[ApiFault]] = {}
        self._runs: dict[str, str] = {}
        self._serving: set[asyncio.Task[None] | None] = set()
        server = network.do(network.listen(self._serve))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def add(self, run_id: str, fault: ApiFault) -> None:
        """Let a run's calls go wrong."""
        self._faults.setdefault(run_id, []).append(fault)

    def release(self, fault: ApiFault) -> None:
        """Let a call go on that is held."""
        self._network.loop.call_soon_threadsafe(fault.released.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nothing else holds on to the task once the client has left.
        mine = asyncio.current_task()
        self._serving.add(mine)
        try:
            await self._serve_one(reader, writer)
        finally:
            self._serving.discard(mine)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            answer = await self._answer(reader)
            if answer:
                writer.write(answer)
                await writer.drain()
                writer.close()
                return
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        """Return the raw answer to a call; empty where there is none."""
        head = await reader.readuntil(_HEAD_END)
        line, *headers = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = line.split(" ", 2)
        length = next(
            (one.split(":")[1] for one in headers if one.lower().startswith("content-length:")), "0"
        )
        body = await reader.readexactly(int(length))
        task_instance = found[1] if (found := _TASK_INSTANCE.search(path)) else ""
        run_id = self._runs.get(task_instance) or next(
            (one for one in path.split("/") if one in self._faults), ""
        )
        faults = self._faults.get(run_id, [])
        text = body.decode(errors="replace")
        fault = next((one for one in faults if one.hits(method, path, text)), ApiFault())
        await fault.hold()
        if fault.refuse:
            return b""
        if fault.status is not None:
            return (
                f"HTTP/1.1 {fault.status} Told so\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
        kept = [one for one in headers if not one.lower().startswith(("connection:", "accept-encoding:"))]
        answer = await self._forward("\r\n".join([line, *kept, "Connection: close"]).encode("latin-1"), body)
        if path.endswith("/run"):
            self._note_run(task_instance, answer)
        return b"" if fault.lose_answer else answer

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            writer.write(head + _HEAD_END + body)
            return await reader.read()
        finally:
            writer.close()

    def _note_run(self, task_instance: str, answer: bytes) -> None:
        with suppress(ValueError, KeyError):
            self._runs[task_instance] = json.loads(answer.partition(_HEAD_END)[2])["dag_run"]["run_id"]


# --- the server ------------------------------------------------------------------------------------------------


class Line:
    """
    A TCP proxy before the server, for one round.

    Troubles, for a time: ``drop``: connections are closed, new ones as soon as they are accepted; ``refuse``: nobody
    listens; ``black hole``: connections are accepted and never bring a byte, not even when it is over; ``half an
    answer``: requests arrive, and of what is answered some bytes come, the rest never.

    :param target: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, network: Network, target: str) -> None:
        self._network = network
        self._target = urlsplit(target)
        self._trouble = ""
        self._open: dict[asyncio.Task[None], asyncio.Event] = {}
        self.troubles = 0
        self.hits = 0
        """Connections that met a trouble; those that are refused can't be seen."""
        self._server: asyncio.Server | None = None
        self._end: asyncio.Task[None] | None = None
        self.port = network.do(self._listen(0))
        self.url = f"http://127.0.0.1:{self.port}"

    def trouble(self, kind: str, seconds: float) -> None:
        """Begin a trouble."""
        self._network.do(self._begin(kind, seconds))

    async def _listen(self, port: int) -> int:
        self._server = await self._network.listen(self._serve, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _begin(self, kind: str, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        await self._heal()
        self._trouble = kind
        self.troubles += 1
        self.hits += len(self._open)
        if kind in {"drop", "refuse"}:
            for task in self._open:
                task.cancel()
        elif kind == "black hole":
            for flows in self._open.values():
                flows.clear()
        if kind == "refuse" and self._server is not None:
            self.hits += 1
            self._server.close()
        self._end = asyncio.create_task(self._heal(seconds))

    async def _heal(self, seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds)
        if self._trouble == "refuse":
            await self._listen(self.port)
        self._trouble = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += bool(self._trouble)
        if self._trouble == "drop":
            writer.transport.abort()
            return
        flows = asyncio.Event()
        if self._trouble != "black hole":
            flows.set()
        mine = asyncio.current_task()
        assert mine is not None
        self._open[mine] = flows
        try:
            await flows.wait()
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            pumps = [
                asyncio.create_task(self._pump(reader, back, flows)),
                asyncio.create_task(self._pump(there, writer, flows, answers=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                back.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # the server is down, or the connection is to be closed
        finally:
            self._open.pop(mine, None)
            writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
        *,
        answers: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await flows.wait()
                if answers and self._trouble == "half an answer":
                    data = data[:HALF_BYTES]
                    flows.clear()
                writer.write(data)
                await writer.drain()
                await flows.wait()
