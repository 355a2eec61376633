"""Asks the service on behalf of browsers: briefly, in a thread, and once for all who look at the same time."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._airflow.redaction import log_exception
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.hooks import OperationsHook

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from airflow_provider_operations._connection.options import ServiceOptions
    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations.operation import Operation

__all__ = ["Answered", "Asking", "Target"]

log = logging.getLogger(__name__)

REQUEST_S = 5.0
"""Longest exchange with the service, however long the connection's ``timeout``: somebody is waiting."""

PATIENCE_S = 10.0
"""Longest wait for an answer: beside the exchange, a connection may have to be looked up and a token got."""

KEPT_S = 1.0
"""How long an answer is given to everybody who asks."""

THREADS = 4
"""
How many polls of one connection are under way at once, and how many cancellations: a service that hangs must take
neither Airflow's own threads nor those for other services.
"""


@dataclass(frozen=True)
class Target:
    """An operation, and how its service is reached."""

    name: str
    options: ServiceOptions


@dataclass(frozen=True)
class Answered:
    """
    What the service said.

    :param problem: why there is no operation; text for people.
    :param forgotten: the service doesn't know the operation (any more).
    :param console_url: the connection's template.
    """

    operation: Operation | None = None
    problem: str | None = None
    forgotten: bool = False
    console_url: str | None = None


class _BriefHook(OperationsHook):
    reads_apart = True  # decoding a large answer would hold up Airflow's API
    asks_again = True

    @property
    def settings(self) -> Settings:
        """What the connection says, but for people who wait."""
        settings = super().settings
        return replace(settings, timeout_s=min(settings.timeout_s, REQUEST_S))


@dataclass
class _Flight:
    task: asyncio.Task[Answered]
    landed_s: float | None = None


@dataclass
class _Turns:
    threads: anyio.CapacityLimiter
    taken_or_awaited: int = 0


class Asking:
    """Polls and cancels, for all requests to an API server's process."""

    def __init__(self, ask: Callable[[Target], Answered] | None = None) -> None:
        self._ask = ask or ask_service
        self._flights: dict[Target, _Flight] = {}
        self._turns: dict[Hashable, _Turns] = {}
        """By call and connection, while calls are under way."""

    async def ask(self, target: Target) -> Answered:
        """Return the operation's latest state; at most ``KEPT_S`` old, and asked for only once at a time."""
        now = time.monotonic()
        for old, flight in list(self._flights.items()):
            if flight.landed_s is not None and now - flight.landed_s > KEPT_S:
                del self._flights[old]
        flight = self._flights.get(target) or self._take_off(target)
        done, _ = await asyncio.wait({flight.task}, timeout=PATIENCE_S)
        if not done:
            return Answered(problem=f"the service has not answered for {PATIENCE_S:g} s")
        return flight.task.result()

    def _take_off(self, target: Target) -> _Flight:
        flight = _Flight(asyncio.create_task(self._in_thread(self._ask, target)))
        self._flights[target] = flight

        def landed(_: asyncio.Task[Answered]) -> None:
            flight.landed_s = time.monotonic()

        flight.task.add_done_callback(landed)
        return flight

    async def cancel(self, target: Target) -> str | None:
        """Ask for the cancellation; return what went wrong, if anything. The next to ask gets a new answer."""
        answered = await self._in_thread(cancel_at_service, target)
        self._flights.pop(target, None)
        return answered.problem

    async def _in_thread(self, call: Callable[[Target], Answered], target: Target) -> Answered:
        kind = call, target.options.operations_conn_id
        turns = self._turns.setdefault(kind, _Turns(anyio.CapacityLimiter(THREADS)))
        turns.taken_or_awaited += 1
        try:
            with anyio.move_on_after(PATIENCE_S) as waiting:
                await turns.threads.acquire()
            if waiting.cancelled_caught:
                problem = (
                    f"not asked: {THREADS} requests with this connection have not been answered for long"
                )
                return Answered(problem=problem)
            try:
                return await anyio.to_thread.run_sync(call, target, limiter=anyio.CapacityLimiter(1))
            finally:
                turns.threads.release()
        finally:
            turns.taken_or_awaited -= 1
            if turns.taken_or_awaited == 0:
                del self._turns[kind]


def ask_service(target: Target) -> Answered:
    """Get the operation once; never raises."""
    return _call(target, lambda hook: hook.poll(target.name))


def cancel_at_service(target: Target) -> Answered:
    """Ask for the cancellation, once more if that may help; never raises."""
    retries = Retries(attempts=2, for_s=3)
    return _call(target, lambda hook: hook.try_cancel(target.name, retries))


def _call(target: Target, call: Callable[[OperationsHook], Operation | CallFailure | None]) -> Answered:
    try:
        with _BriefHook(**target.options.arguments()) as hook:
            console_url = hook.settings.console_url
            result = call(hook)
    except (InvalidName, InvalidConnection, AirflowNotFoundException) as error:
        return Answered(problem=str(error))
    except Exception as error:  # noqa: BLE001  of any secrets backend
        # The text may come from a secrets backend: it is for the log, not for everybody who may see the task.
        log_exception(log, "can't ask for %s", target.name)
        problem = f"{type(error).__name__} in Airflow's API server, see its log"
        return Answered(problem=problem)
    if isinstance(result, CallFailure):
        problem = f"{result.status.code_name}: {result.status.message or result.problem}"
        if result.http_status is not None:
            problem += f" (HTTP {result.http_status})"
        return Answered(problem=problem, forgotten=result.http_status == 404, console_url=console_url)
    return Answered(result, console_url=console_url)
