"""Both hooks, called in the same way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from tests.support.connections import set_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_operations.operation import Operation

QUICK = Retries(delay_s=0)
"""Repeats at once what may be repeated."""


class SyncCalls:
    """Calls the sync hook."""

    def __init__(self, hook: OperationsHook) -> None:
        self.hook = hook

    def __call__(self, name_of_call: str, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.hook, name_of_call)(*args, **kwargs)

    def list(self, *args: Any, **kwargs: Any) -> list[Operation]:
        return list(self.hook.list_operations(*args, **kwargs))

    def close(self) -> None:
        self.hook.close()


class AsyncCalls:
    """Calls the async hook from one event loop, so that its session lives on between calls."""

    def __init__(self, hook: OperationsAsyncHook) -> None:
        self.hook = hook
        self._loop = asyncio.new_event_loop()

    def __call__(self, name_of_call: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._loop.run_until_complete(getattr(self.hook, name_of_call)(*args, **kwargs))

    def list(self, *args: Any, **kwargs: Any) -> list[Operation]:
        async def collect() -> list[Operation]:
            return [operation async for operation in self.hook.list_operations(*args, **kwargs)]

        return self._loop.run_until_complete(collect())

    def close(self) -> None:
        self._loop.run_until_complete(self.hook.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


Calls = SyncCalls | AsyncCalls


@pytest.fixture(params=["sync", "async"])
def hook_of(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Calls]]:
    """Make a hook for a URL; every test runs with both, and expects the same of both."""
    made: list[Calls] = []

    def make(
        url: str, *, retries: Retries = QUICK, connection: dict[str, Any] | None = None, **kwargs: Any
    ) -> Calls:
        set_connection(monkeypatch, url, "ops", **(connection or {}))
        calls: Calls
        if request.param == "sync":
            calls = SyncCalls(OperationsHook("ops", retries=retries, **kwargs))
        else:
            calls = AsyncCalls(OperationsAsyncHook("ops", retries=retries, **kwargs))
        made.append(calls)
        return calls

    yield make
    for calls in made:
        calls.close()
