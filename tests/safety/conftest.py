"""One question, asked by everything that asks a service for an operation."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_operations.__main__ import main
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Outcome
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import error_of_call
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.hooks import hook_of
from tests.versions import AIRFLOW

from .costs import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["hook_of"]

ONCE = Retries(attempts=1, delay_s=0)


class Told(NamedTuple):
    """What somebody who asked was told: an operation, or why there is none."""

    operation: Operation | None
    problem: str = ""


Ask = "Callable[..., Told]"


def _by_hook(name: str, base_url: str | None) -> Told:
    with OperationsHook("ops", base_url=base_url, retries=ONCE) as hook:
        return Told(hook.get_operation(name))


async def _by_async_hook(name: str, base_url: str | None) -> Told:
    async with OperationsAsyncHook("ops", base_url=base_url, retries=ONCE) as hook:
        return Told(await hook.get_operation(name))


async def _by_trigger(name: str, base_url: str | None, poll_with: str | None = None) -> Told:
    trigger = OperationTrigger(
        name,
        operations_conn_id="ops",
        base_url=base_url,
        poll_with=poll_with,
        outage_tolerance_s=0,
        deadline_epoch_s=clock.now() + 10,
    )
    events: list[Any] = [event async for event in trigger.run()]
    (event,) = events
    outcome = Outcome.from_event(event.payload)
    problem = "" if outcome.failure is None else str(error_of_call(outcome.failure, name))
    return Told(None if outcome.failure else outcome.operation, problem)


def _by_tab(name: str, base_url: str | None) -> Told:
    from airflow_provider_operations._connection.options import ServiceOptions
    from airflow_provider_operations.ui.live import Target, ask_service
    from airflow_provider_operations.ui.views import shown_text

    answered = ask_service(Target(name, ServiceOptions("ops", base_url=base_url)))
    # As JSON: the browser shows it in an element of its own, where a line break forges nothing.
    return Told(answered.operation, json.dumps(shown_text(answered.problem or ""), ensure_ascii=False))


def _by_cli(name: str, base_url: str | None, capsys: pytest.CaptureFixture[str]) -> Told:
    argv = ["get", name, "--conn-id", "ops", "-o", "json", *(["--base-url", base_url] if base_url else [])]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(argv)
    stdout, stderr = capsys.readouterr()
    return Told(None, stderr) if ended.value.code else Told(Operation.from_json(json.loads(stdout)))


ASKERS = ("sync", "async", "trigger", "list", "cli", "tab")


@pytest.fixture(params=ASKERS)
def ask(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Ask for an operation with a connection's fields; a refusal is told, too."""
    if request.param == "tab" and AIRFLOW < (3, 1):
        pytest.skip("the UI has plugins from Airflow 3.1 on")
    # The command sets it for good; this takes it back.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    logging.getLogger("airflow.models.crypto").setLevel(logging.ERROR)

    def ask(name: str = "operations/x", base_url: str | None = None, **fields: Any) -> Told:
        monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "operations", **fields}))
        try:
            match request.param:
                case "sync":
                    return _by_hook(name, base_url)
                case "async":
                    return asyncio.run(_by_async_hook(name, base_url))
                case "trigger":
                    return asyncio.run(_by_trigger(name, base_url))
                case "list":
                    return asyncio.run(_by_trigger(name, base_url, "list"))
                case "cli":
                    return _by_cli(name, base_url, capsys)
                case _:
                    return _by_tab(name, base_url)
        except Exception as error:  # noqa: BLE001  whatever it is, the test looks at its text
            return Told(None, f"{type(error).__name__}: {error}")

    return ask


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    """A meter, in a process whose own objects cost no garbage collection."""
    gc.collect()
    gc.freeze()
    yield Meter(monkeypatch)
    gc.unfreeze()
