"""
The servers whose answers are asked for: nginx with a static answer, or our own where it isn't installed.

Each candidate gets one of its own, so that it can be counted what it asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import psutil

from tests.tooling.bench.loopback import BODY, LOOPBACK, Answering, body_of, listening

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.sharedctypes import SynchronizedArray
    from types import TracebackType

__all__ = ["Counts", "Sampler", "StaticServer", "counts_at", "nginx_version", "static_server"]

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections {connections}; }}
http {{
  access_log off; default_type application/json;
  keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen {host}:{port} backlog=4096;
    location = /status {{ stub_status; }}
    location ~ ^/v1/(?<operation>.+)$ {{ return 200 '{body}'; }}
    location ~ ^/missing/(?<operation>.+)$ {{ return 404 '{body}'; }}
  }}
}}
"""
"""One process; ``/v1/NAME`` is an operation that runs, and ``/missing/NAME`` the same with status 404."""

_STATUS = re.compile(r"Active connections: (\d+)\s+server accepts handled requests\s+(\d+) \d+ (\d+)")


class Counts(NamedTuple):
    """What a server has counted, the request for it included."""

    connections: int
    accepted: int
    requests: int


def counts_at(url: str) -> Counts:
    """Ask a server what it has counted."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        return _ask(connection)
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection) -> Counts:
    connection.request("GET", "/status")
    found = _STATUS.search(connection.getresponse().read().decode())
    assert found is not None
    return Counts(*map(int, found.groups()))


class StaticServer:
    """
    A server that answers every operation with one that runs.

    :ivar url: where it listens.
    """

    kind = ""

    def __init__(self) -> None:
        self.url = ""
        self._began = 0.0

    def __enter__(self) -> StaticServer:
        """Start it."""
        self._start()
        deadline = time.monotonic() + 20
        while True:
            try:
                counts_at(self.url)
                break
            except OSError:
                if time.monotonic() > deadline:
                    self._stop()
                    raise
                time.sleep(0.05)
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._stop()

    def busy(self) -> float:
        """Return the share of one core that it has used: far below 1, or it is the bottleneck."""
        used = 0.0
        for pid in self._pids():
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                used += times.user + times.system
        return used / max(time.monotonic() - self._began, 0.1)

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _pids(self) -> list[int]:
        raise NotImplementedError


class Nginx(StaticServer):
    """nginx, one process."""

    kind = "nginx"

    def _start(self) -> None:
        with listening() as probe:
            port = probe.getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
        configuration = self._folder / "nginx.conf"
        text = CONFIGURATION.format(
            folder=self._folder,
            host=LOOPBACK,
            port=port,
            connections=18_000,
            body=BODY % ("$operation", "false"),
        )
        configuration.write_text(text)
        self.url = f"http://{LOOPBACK}:{port}"
        self._process = subprocess.Popen(
            [_nginx() or "", "-e", "stderr", "-p", str(self._folder), "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pids(self) -> list[int]:
        return [self._process.pid]


class OwnServer(StaticServer):
    """Two processes of ``Answering`` on one port, for machines without nginx; speaks its /status as well."""

    kind = "own server"
    processes = 2

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        with listening(shared=True) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{port}"
        self._counts = context.Array("q", 3 * self.processes)  # kept until its children have it
        self._workers: list[SpawnProcess] = [
            context.Process(target=_serve, args=(port, self._counts, index), daemon=True)
            for index in range(self.processes)
        ]
        for worker in self._workers:
            worker.start()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.terminate()
            worker.join(5)

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid]


def _serve(port: int, counts: SynchronizedArray[int], index: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def opened(change: int) -> None:
        counts[3 * index] += change
        counts[3 * index + 1] += max(change, 0)

    def answer(target: str) -> tuple[int, bytes]:
        counts[3 * index + 2] += 1
        if target == "/status":
            active, accepted, asked = (sum(counts[part::3]) for part in range(3))
            status = f"Active connections: {active} \nserver accepts handled requests\n {accepted} {accepted} {asked} \n"
            return 200, status.encode()
        status_code = 404 if target.startswith("/missing/") else 200
        return status_code, body_of(target.split("/", 2)[2])

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        listener = listening(port, shared=True)
        server = await loop.create_server(lambda: Answering(answer, opened), sock=listener, backlog=4096)
        await server.serve_forever()

    asyncio.run(serve())


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")


def nginx_version() -> str:
    """Return nginx's version, or that it isn't installed."""
    path = _nginx()
    if path is None:
        return "not installed"
    said = subprocess.run([path, "-v"], check=False, capture_output=True, text=True).stderr
    return said.strip().rpartition("/")[2]


def static_server() -> StaticServer:
    """Return the best server that there is, not started yet."""
    return Nginx() if _nginx() else OwnServer()


class Sampler:
    """Looks every 20 ms how many connections a server has, and keeps the most."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler")
        self.most = 0

    def __enter__(self) -> Sampler:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()
        self._connection.close()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.most = max(self.most, _ask(self._connection).connections - 1)  # without ours
