"""
Where the real code is cut: its clocks, threads and HTTP clients, and Airflow's channel to the supervisor.

What belongs to one process in reality, and to the module here, is kept by process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime, timezone
from functools import cache, partial
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import requests
import structlog
from aiohttp.client_reqrep import ConnectionKey
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.providers.standard.triggers import temporal
from airflow.sdk import DAG
from airflow.sdk.execution_time import task_runner
from urllib3.exceptions import MaxRetryError, NewConnectionError

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._tasks import end_from_trigger
from airflow_provider_operations.hooks import OperationsAsyncHook, _client
from airflow_provider_operations.hooks.worker import WorkerClient
from airflow_provider_operations.triggers import operation as trigger_module

from .green import Lock, primitives
from .kernel import Kernel, Waiter
from .server import Lost

if TYPE_CHECKING:
    from .versions import Version
    from .world import World

__all__ = ["cut"]

_HOST = "http://service.test"
_KEY = ConnectionKey("service.test", 80, False, True, None, None, None)


class _Response:
    """What both HTTP clients' code reads of a response."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = self.status_code = status
        self.headers = {"content-type": "application/json", **({"retry-after": "5"} if status == 429 else {})}
        self._body = body
        self.content: Any = body

    def __enter__(self) -> _Response:
        return self

    def __exit__(self, *_: object) -> None: ...

    async def read(self, _: int) -> bytes:
        body, self._body = self._body, b""
        return body


class _Session:
    """A session of requests."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def request(self, method: str, url: str, *, data: bytes | None, timeout: Any, **_: Any) -> _Response:
        kernel = self._world.kernel
        waiter, answers = Waiter(kernel), []

        def done(status: int | Lost, body: bytes) -> None:
            answers.append((status, body))
            waiter.fire()

        self._world.server.request(method, url, data, done)
        if not kernel.wait(waiter, timeout[1]):
            raise requests.exceptions.ReadTimeout("no answer in time")
        status, body = answers[0]
        if isinstance(status, Lost):
            if status.sent:
                raise requests.exceptions.ConnectionError("reset by peer")
            unreachable: Any = NewConnectionError(None, "refused")  # type: ignore[arg-type]
            raise requests.exceptions.ConnectionError(MaxRetryError(None, url, unreachable))  # type: ignore[arg-type]
        return _Response(status, body)


class _AsyncSession:
    """A session of aiohttp."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def close(self) -> None: ...

    def request(self, method: str, url: Any, *, data: bytes | None, timeout: Any, **_: Any) -> _Request:
        return _Request(self._world, method, str(url), data, timeout.total)


class _Request:
    """What is awaited for an asynchronous response."""

    def __init__(self, world: World, method: str, url: str, data: bytes | None, timeout_s: float) -> None:
        self._world, self._arguments, self._timeout_s = world, (method, url, data), timeout_s

    async def __aenter__(self) -> Any:
        answer: asyncio.Future[tuple[int | Lost, bytes]] = asyncio.get_running_loop().create_future()

        def done(status: int | Lost, body: bytes) -> None:
            if not answer.done():
                answer.set_result((status, body))

        self._world.server.request(*self._arguments, done)
        await asyncio.wait({answer}, timeout=self._timeout_s)
        if not answer.done():
            raise asyncio.TimeoutError
        status, body = answer.result()
        if isinstance(status, Lost):
            if status.sent:
                raise aiohttp.ServerDisconnectedError
            raise aiohttp.ClientConnectorError(_KEY, OSError("refused"))
        response = _Response(status, body)
        return SimpleNamespace(status=status, headers=response.headers, content=response)

    async def __aexit__(self, *_: object) -> None: ...


class _ByProcess(MutableMapping[Any, Any]):
    """A module's dictionary, of which each simulated process has its own."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._own: dict[Any, dict[Any, Any]] = {}

    def _here(self) -> dict[Any, Any]:
        return self._own.setdefault(self._kernel.current, {})

    def __getitem__(self, key: Any) -> Any:
        return self._here()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._here()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._here()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._here())

    def __len__(self) -> int:
        return len(self._here())


class _NoListeners:
    """A plugin manager without plugins."""

    hook = property(lambda self: self)

    def __getattr__(self, _: str) -> Any:
        return lambda **__: None


_ENVIRONMENT = {
    "AIRFLOW_DISABLE_GREENBACK_PORTAL": "true",
    "REQUESTS_CA_BUNDLE": None,  # either would be read for each hook
    "CURL_CA_BUNDLE": None,
}


def _set_environment(name: str, value: str | None) -> None:
    if value is not None:
        os.environ[name] = value
    elif name in os.environ:
        del os.environ[name]


def _timezone(now: Callable[[], float]) -> SimpleNamespace:
    """Return Airflow's module ``timezone`` with another clock."""
    airflows: Any = vars(temporal)["timezone"]
    known = {name: getattr(airflows, name) for name in dir(airflows)}
    return SimpleNamespace(**{**known, "utcnow": lambda: datetime.fromtimestamp(now(), timezone.utc)})


_NO_LISTENERS = _NoListeners()
_NOTHING = object()


class _Connection(SimpleNamespace):
    async def aextra_dejson(self) -> dict[str, Any]:
        return {}


_CONNECTION = _Connection(
    conn_id="operations_default", conn_type="operations", host=_HOST, port=None, schema=None, login=None,
    password=None, extra=None, extra_dejson={},
)  # fmt: skip


def _connections(here: SimpleNamespace) -> Any:
    async def aget_connection(*_: Any, **__: Any) -> Any:
        if here.world.connection_is_gone:
            raise AirflowNotFoundException("the connection isn't defined")
        return _CONNECTION

    return aget_connection


def _log_into_trace(kernel: Kernel, _: Any, __: str, event: Any) -> Any:
    text = str(event["event"])
    if not text.startswith("::"):
        kernel.note("log", text)
    raise structlog.DropEvent


@cache
def _imported_by_name() -> list[tuple[Any, str, Any]]:
    """Return where the package has imported threads and futures by name: module, name, what it is."""
    threads = primitives(Kernel(0))
    return [
        (module, attribute, value)
        for name, module in list(sys.modules.items())
        if name.startswith("airflow_provider_operations.")
        for attribute, value in vars(module).items()
        if isinstance(value, type | FunctionType) and value in threads
    ]


@cache
def _locks() -> list[tuple[Any, str]]:
    """Return which locks modules of the package have made: module, name."""
    kind = type(threading.Lock())
    return [
        (module, attribute)
        for name, module in list(sys.modules.items())
        if name.startswith("airflow_provider_operations.")
        for attribute, value in vars(module).items()
        if isinstance(value, kind)
    ]


@cache
def _of_version(version: Version) -> list[tuple[Any, str, Any]]:
    """Return what is another one on an Airflow than on the installed one: module, name, value."""
    values: dict[str, Any] = dict(version.flags)
    values["clears_drop_task_state"] = lambda: version.clears_drop_task_state
    return [
        (module, name, value)
        for path, module in list(sys.modules.items())
        if path.startswith("airflow_provider_operations.")
        for name, value in values.items()
        if name in vars(module) and vars(module)[name] is not value
    ]


@contextmanager
def cut(kernel: Kernel, seed: int, version: Version) -> Iterator[SimpleNamespace]:
    """Put the simulation in the place of the world; yield where to put the ``World`` that answers."""
    here = SimpleNamespace(world=None)

    def now() -> float:
        """Return what the clock of the host shows on which this runs."""
        world, process = here.world, kernel.current
        return kernel.now + (world.skew_s(process.name) if world.skews and process is not None else 0.0)

    def monotonic() -> float:
        return kernel.now

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=kernel.random.getrandbits(128), version=4)

    def current_worker() -> Any:
        return next(one for one in here.world.airflow.workers if one.process is kernel.current)

    def on_signal(number: int, handler: Any) -> None:
        name = "on_alarm" if number == signal.SIGALRM else "on_term"
        setattr(current_worker(), name, lambda: handler(number, None))

    def setitimer(_: int, seconds: float) -> None:
        current_worker().set_alarm(seconds)

    def send(msg: Any) -> Any:
        return here.world.send(msg)

    comms = SimpleNamespace(send=send)
    disabled, state = logging.root.manager.disable, random.getstate()
    with ExitStack() as stack:

        def put(place: Any, name: str, value: Any) -> None:
            before = vars(place).get(name, _NOTHING)
            if before is _NOTHING:
                stack.callback(delattr, place, name)
            else:
                stack.callback(setattr, place, name, before)
            setattr(place, name, value)

        for name, value in _ENVIRONMENT.items():
            stack.callback(_set_environment, name, os.environ.get(name))
            _set_environment(name, value)
        green = primitives(kernel)
        for module, attribute, threads in _imported_by_name():
            put(module, attribute, green[threads])
        for module, attribute in _locks():
            put(module, attribute, Lock(kernel))
        put(clock, "now", now)
        put(clock, "monotonic", monotonic)
        put(clock, "sleep", kernel.sleep)
        put(time, "time", now)
        put(time, "monotonic", monotonic)
        put(time, "sleep", kernel.sleep)
        put(temporal, "timezone", _timezone(now))
        put(uuid, "uuid4", uuid4)
        put(signal, "signal", on_signal)
        put(signal, "setitimer", setitimer)
        for module, name, value in _of_version(version):
            put(module, name, value)
        put(task_runner, "SUPERVISOR_COMMS", comms)
        put(task_runner, "get_listener_manager", lambda: _NO_LISTENERS)
        put(task_runner, "set_current_context", nullcontext)  # what is one process's, two workers would share
        put(end_from_trigger, "listeners", lambda: ())
        put(task_runner, "_serialize_rendered_fields", lambda _: {})
        put(task_runner, "get_hostname", lambda: "host")
        put(task_runner, "process_params", lambda *_, **__: {})
        put(task_runner, "context_to_airflow_vars", lambda *_, **__: {})
        put(DAG, "get_template_env", lambda *_, **__: None)
        put(task_runner.RuntimeTaskInstance, "render_templates", lambda *_, **__: None)
        put(WorkerClient, "new_session", lambda *_: _Session(here.world))
        put(WorkerClient, "get_connection", lambda *_, **__: _CONNECTION)
        put(OperationsAsyncHook, "get_connection", lambda *_, **__: _CONNECTION)
        put(OperationsAsyncHook, "aget_connection", _connections(here))
        put(_client.SharedClient, "new_session", staticmethod(lambda: _AsyncSession(here.world)))
        put(_client, "get_environ_proxies", lambda _: {})
        put(trigger_module, "_kills", _ByProcess(kernel))
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=lambda _: None)
        if disabled < logging.CRITICAL:  # a change makes all loggers forget what they know
            logging.disable(logging.CRITICAL)
        random.seed(seed)
        logs = structlog.get_config()
        structlog.configure(
            processors=[partial(_log_into_trace, kernel)],
            logger_factory=lambda *_: None,
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=False,
        )
        try:
            yield here
        finally:
            for triggerer in here.world.triggerers:
                triggerer.loop.drop()
            structlog.configure(**logs)
            sys.set_asyncgen_hooks(*hooks)
            if logging.root.manager.disable != disabled:
                logging.disable(disabled)
            random.setstate(state)
