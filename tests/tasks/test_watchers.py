"""``OperationsEventTrigger`` under Airflow's own shared streams and state store accessors, over a real socket."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_operations.triggers import OperationsEventTrigger
from airflow_provider_operations.triggers import _list_stream as looking
from airflow_provider_operations.triggers import event as watchers
from tests.support.clocks import MovedClock
from tests.support.connections import set_connection
from tests.support.endless import dripping
from tests.support.raw_requests import call, start
from tests.support.raw_server import RawServer, answer

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

    from airflow_provider_operations.emulator import Emulator

shared_stream = pytest.importorskip("airflow.triggers.shared_stream", reason="Airflow 3.3")

PARENT = "projects/p"


class Gate(MovedClock):
    """Time that passes when the test says so: whoever sleeps does so until the next ``tick``."""

    def __init__(self) -> None:
        super().__init__()
        self._asleep: list[asyncio.Future[None]] = []

    async def asleep(self, seconds: float) -> None:
        if not seconds:
            return
        future = asyncio.get_running_loop().create_future()
        self._asleep.append(future)
        self.sleeps.append(seconds)
        await future

    async def settle(self, sleepers: int = 1) -> None:
        """Wait until so many have looked and sleep, and whoever listens has dealt with it."""
        deadline = time.monotonic() + 10
        while sum(not future.done() for future in self._asleep) < sleepers:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        for _ in range(100):
            await asyncio.sleep(0)

    async def tick(self, seconds: float = 30, sleepers: int = 1) -> None:
        """Let time pass, and one look after it."""
        self.now += seconds
        asleep, self._asleep = self._asleep, []
        for future in asleep:
            if not future.done():
                future.set_result(None)
        await self.settle(sleepers)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The clock of provider and emulator."""
    moved = Gate()
    moved.install(monkeypatch)
    monkeypatch.setattr(watchers, "HELD_S", 0.0)
    return moved


class Supervisor:
    """The part of a triggerer's supervisor that keeps assets' state."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], Any] = {}
        self.writes = 0
        self.broken = False

    async def asend(self, message: Any) -> Any:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time import comms

        await asyncio.sleep(0)
        if self.broken:
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        if isinstance(message, comms.SetAssetStateStoreByName):
            self.values[message.name, message.key] = json.loads(json.dumps(message.value))
            self.writes += 1
            return None
        assert isinstance(message, comms.GetAssetStateStoreByName)
        if (message.name, message.key) not in self.values:
            return comms.ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)
        return comms.AssetStateStoreResult(value=self.values[message.name, message.key])


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """Where assets' state is kept."""
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


@dataclass
class Triggerer:
    """Does with watchers what a triggerer of Airflow 3.3 does."""

    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """What reached Airflow's database: number of the watcher, and event."""
    persists: bool = True
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _unsent: list[tuple[int, dict[str, Any], int | None]] = field(default_factory=list)
    manager: Any = field(default_factory=shared_stream.SharedStreamManager)

    def run(self, trigger: OperationsEventTrigger, *assets: str) -> None:
        """Run a watcher, rebuilt from what is stored, for these assets."""
        from airflow.sdk import Asset
        from airflow.sdk.execution_time.context import AssetStateStoreAccessors

        path, kwargs = trigger.serialize()
        module, _, name = path.rpartition(".")
        rebuilt = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))
        if assets:
            rebuilt.asset_state_store = AssetStateStoreAccessors(inlets=[Asset(each) for each in assets])
        number = len(self._tasks)
        self._tasks[number] = asyncio.create_task(self._run(number, rebuilt))

    async def _run(self, number: int, trigger: Any) -> None:
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                msgspec = importlib.import_module("msgspec")
                payload = msgspec.msgpack.decode(msgspec.msgpack.encode(event.model_dump()))["payload"]
                seq = self.manager.bind_pending_event(trigger_id=number, key=key)
                self._unsent.append((number, payload, seq))
        finally:
            await self.manager.unsubscribe(number, key)

    async def sync(self) -> None:
        """Store the events, as the supervisor does every second."""
        self.events += [(number, payload) for number, payload, _ in self._unsent]
        if self.persists:
            self.manager.confirm_persisted([seq for *_, seq in self._unsent if seq is not None])
        self._unsent.clear()
        for _ in range(200):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End, as a triggerer does on SIGTERM: events that weren't sent are lost."""
        self._unsent.clear()
        for task in self._tasks.values():
            task.cancel()
        ended = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.manager.stop_all()
        self._tasks.clear()
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)

    def told(self, number: int | None = None) -> list[str]:
        """Names of the operations whose end was told."""
        return [event["name"] for each, event in self.events if number in (None, each)]


@pytest.fixture
async def triggerer(supervisor: Supervisor) -> AsyncIterator[Triggerer]:
    """A triggerer."""
    triggerer = Triggerer()
    yield triggerer
    await triggerer.stop()


def lists(emulator: Emulator) -> int:
    return len(emulator.journal("list"))


def ours(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """The lines that this package has logged about the operations."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= level and record.getMessage().startswith("operations under")
    ]


# --- arguments -------------------------------------------------------------------------------------------------


ARGUMENTS: dict[str, Any] = {
    "operations_conn_id": "other",
    "base_url": "http://localhost:1",
    "path_prefix": "v2",
    "error_format": 2,
    "filter": "metadata.verb=create",
    "outcome": "failed",
    "operation_type": "CreateMetadata",
    "poke_interval": 15.0,
}


def test_a_watcher_is_stored_without_its_defaults() -> None:
    """The path is literal, every argument comes back, and what equals its default isn't stored."""
    path = "airflow_provider_operations.triggers.OperationsEventTrigger"
    assert OperationsEventTrigger("p").serialize() == (path, {"parent": "p"})
    given: dict[str, Any] = {"parent": "p", **ARGUMENTS}
    assert OperationsEventTrigger(**given).serialize() == (path, given)
    assert OperationsEventTrigger(**OperationsEventTrigger(**given).serialize()[1]).serialize() == (
        path,
        given,
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            {"outcome": "done"}, "outcome is one of succeeded, failed, cancelled, not 'done'", id="outcome"
        ),
        pytest.param({"poke_interval": 9.5}, "poke_interval is at least 10 s, not 9.5", id="interval"),
        pytest.param({"poke_interval": float("nan")}, "poke_interval is at least 10 s", id="nan"),
    ],
)
def test_bad_arguments_are_refused_at_parse_time(arguments: dict[str, Any], text: str) -> None:
    """What can't be is refused when the DAG is parsed."""
    with pytest.raises(ValueError, match=text):
        OperationsEventTrigger("p", **arguments)


async def test_stored_by_a_later_version() -> None:
    """A triggerer that can't make such a trigger fails it alone, and goes on with the others."""
    from airflow.executors.workloads.trigger import RunTrigger
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.trigger import Trigger

    path, _ = OperationsEventTrigger("p").serialize()
    stored: list[dict[str, Any]] = [
        {"parent": "p", "outcome": "paused"},
        {"parent": "p", "poke_interval": 1.0},
        {"parent": "p", "colour": "red"},
        {"parent": "p"},
    ]
    runner = TriggerRunner()
    for number, arguments in enumerate(stored):
        kwargs = Trigger.encrypt_kwargs(arguments)
        runner.to_create.append(RunTrigger(id=number, classpath=path, encrypted_kwargs=kwargs))

    await runner.create_triggers()

    assert [number for number, _ in runner.failed_triggers] == [0, 1, 2]
    assert list(runner.triggers) == [3]
    for made in runner.triggers.values():
        made["task"].cancel()
        with suppress(asyncio.CancelledError):
            await made["task"]


def test_what_decides_about_requests_makes_the_key() -> None:
    """What decides about the requests makes the key; what is picked out of their answers does not."""
    key = OperationsEventTrigger("p").shared_stream_key()
    picking = {"outcome", "operation_type"}
    for name, value in ARGUMENTS.items():
        other = OperationsEventTrigger("p", **{name: value})
        assert (other.shared_stream_key() == key) is (name in picking), name
    assert OperationsEventTrigger("q").shared_stream_key() != key


def test_asset_watcher() -> None:
    """An ``AssetWatcher`` takes it, and it's written into a DAG as its path and arguments."""
    from airflow.sdk import Asset, AssetWatcher
    from airflow.serialization.encoders import encode_asset_like

    asset = Asset("a", watchers=[AssetWatcher(name="w", trigger=OperationsEventTrigger("p", filter="x=1"))])
    assert encode_asset_like(asset)["watchers"] == [
        {
            "name": "w",
            "trigger": {
                "classpath": "airflow_provider_operations.triggers.OperationsEventTrigger",
                "kwargs": {"parent": "p", "filter": "x=1"},
            },
        }
    ]


def test_before_airflow_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asset watchers the module can be imported, and the trigger says why it can't be made."""
    code = (
        "import airflow.triggers.base as base\n"
        "from airflow_provider_operations._airflow import compat\n"
        "del base.BaseEventTrigger\n"
        "compat.HAS_ASSET_WATCHERS = False\n"
        "from airflow_provider_operations.triggers import OperationTrigger, OperationsEventTrigger\n"
        "OperationTrigger('operations/x')\n"
        "OperationsEventTrigger('p')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip().splitlines()[-1] == (
        "RuntimeError: OperationsEventTrigger needs Airflow 3.0 or later, which has asset watchers"
    )
    monkeypatch.setattr(watchers, "HAS_ASSET_WATCHERS", False)
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.0 or later"):
        OperationsEventTrigger("p")


def test_light_import() -> None:
    """A DAG file with a watcher loads no HTTP client."""
    code = (
        "import sys, airflow.triggers.base\n"
        "from airflow.sdk import Asset, AssetWatcher\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_operations.triggers import OperationsEventTrigger\n"
        "OperationsEventTrigger('p').shared_stream_key()\n"
        "heavy = {'requests', 'aiohttp', 'google.protobuf', 'google.auth', 'airflow.providers.http'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().splitlines()[-1] == "[]"


# --- what is told ------------------------------------------------------------------------------------------------


async def test_each_end_is_reported_once(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """What is over at the first start is old; from then on each end is told once, however often one looks."""
    start(emulator.url, name=f"{PARENT}/operations/old", duration=1)
    start(emulator.url, name="projects/other/operations/x", duration=60)
    moved.now += 10
    running = start(emulator.url, name=f"{PARENT}/operations/running", duration=60)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    quick = start(emulator.url, name=f"{PARENT}/operations/quick", duration=1)
    for _ in range(5):
        await moved.tick()
        await triggerer.sync()
    assert triggerer.told() == [quick, running]
    assert lists(emulator) == 6
    assert emulator.journal("get") == []


async def test_an_event_is_small_and_storable(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """An event is small, says how the operation ended, and any database and encoding takes it."""
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    metadata = {"__id__": "x", "big": 2**70, "text": "a\u0000\ud800"}
    error = {
        "code": 8,
        "message": "no quota",
        "details": [{"@type": "t/google.rpc.ErrorInfo", "reason": "Q"}],
    }
    start(emulator.url, name=f"{PARENT}/operations/a", metadata=metadata, error=error)
    start(
        emulator.url,
        name=f"{PARENT}/operations/b",
        duration=2,
        metadata={"blob": "x" * 20_000},
        response={"r": 1},
    )
    start(emulator.url, name=f"{PARENT}/operations/c", duration=3, error={"code": 1, "message": "cancelled"})
    await moved.tick()
    await triggerer.sync()
    failed, succeeded, cancelled = (event for _, event in triggerer.events)
    assert {key: failed[key] for key in ("name", "done", "outcome", "error")} == {
        "name": f"{PARENT}/operations/a",
        "done": True,
        "outcome": "failed",
        "error": error,
    }
    assert failed["metadata"]["\\__id__"] == "x"
    assert failed["metadata"]["big"] == str(2**70)
    assert failed["metadata"]["text"] == r"a\x00\ud800"
    assert succeeded.keys() == {"name", "done", "outcome", "metadata"}
    assert (succeeded["outcome"], succeeded["metadata"][:8]) == ("succeeded", "left out")
    assert cancelled["outcome"] == "cancelled"
    assert all(len(json.dumps(event)) < 9000 for _, event in triggerer.events)


async def test_one_key_shares_one_listing(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """Watchers of one key share one listing, and each tells what it is for."""
    kind = "type.googleapis.com/example.v1.TrainMetadata"
    everything = OperationsEventTrigger(PARENT)
    failures = OperationsEventTrigger(PARENT, outcome="failed")
    trainings = OperationsEventTrigger(PARENT, operation_type="TrainMetadata")
    full = OperationsEventTrigger(PARENT, operation_type="example.v1.TrainMetadata", outcome="succeeded")
    for trigger in (everything, failures, trainings, full):
        triggerer.run(trigger, "asset")
    await moved.settle()
    good = start(emulator.url, name=f"{PARENT}/operations/good", metadata={"@type": kind}, response={})
    bad = start(emulator.url, name=f"{PARENT}/operations/bad", duration=2, error={"code": 3})
    await moved.tick()
    await moved.tick()
    await triggerer.sync()
    assert [triggerer.told(number) for number in range(4)] == [[good, bad], [bad], [good], [good]]
    assert lists(emulator) == 3


async def test_what_leaves_a_filter_is_asked_for(
    emulator: Emulator, moved: Gate, triggerer: Triggerer
) -> None:
    """The filter is sent as it is; what leaves the list by it is asked for once, and its end told."""
    triggerer.run(OperationsEventTrigger(PARENT, filter="done=false AND metadata.shape=round"), "asset")
    start(emulator.url, name=f"{PARENT}/operations/square", duration=40, metadata={"shape": "square"})
    name = start(emulator.url, name=f"{PARENT}/operations/round", duration=40, metadata={"shape": "round"})
    await moved.settle()
    for _ in range(4):
        await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == [name]
    assert {entry["query"]["filter"] for entry in emulator.journal("list")} == {
        "done=false AND metadata.shape=round"
    }
    assert [entry["operation"] for entry in emulator.journal("get")] == [name]


async def test_a_forgotten_operation_is_logged_once(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was seen running and that the server has forgotten is said to be so, once, and isn't told."""
    caplog.set_level(logging.INFO)
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=600)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    assert call(emulator.url, "DELETE", f"/v1/{name}").status == 200
    for _ in range(4):
        await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == []
    assert len(emulator.journal("get")) == 1
    assert ours(caplog, logging.WARNING) == [
        (
            "operations under 'projects/p' by connection 'operations_default': the server has forgotten "
            "projects/p/operations/x before it told how it ended"
        )
    ]


async def test_a_page_is_no_word_of_the_service(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's 404 in a rollout makes nobody forget an operation: its end is told; two such pages do, 30 s apart."""
    caplog.set_level(logging.INFO)
    first, second = (
        start(emulator.url, name=f"{PARENT}/operations/{each}", duration=40) for each in ("first", "second")
    )
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    unlisted = {"kind": "list", "body": {"operations": []}}
    page = {"kind": "get", "status": 404, "body": "<h1>Not Found</h1>"}
    emulator.script_fault(**unlisted, times=1)
    emulator.script_fault(**page, times=2)
    await moved.tick()
    assert ours(caplog, logging.WARNING) == []
    for _ in range(3):
        await moved.tick()
    await triggerer.sync()
    assert sorted(triggerer.told()) == [first, second]
    third = start(emulator.url, name=f"{PARENT}/operations/third", duration=4000)
    await moved.tick()
    emulator.script_fault(**unlisted)
    emulator.script_fault(**page)
    for _ in range(4):
        await moved.tick()
    await triggerer.sync()
    (said,) = ours(caplog, logging.WARNING)
    assert f"the server has forgotten {third}" in said


async def test_the_last_is_held_back(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of several ends the last one's event follows when the scheduler has made a run for the first.

    Else that run would have none of the others, and they would wait until something else ends.
    """
    monkeypatch.setattr(watchers, "HELD_S", 8.0)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    a, b, c = (
        start(emulator.url, name=f"{PARENT}/operations/{each}", duration=ord(each) - 96) for each in "abc"
    )
    await moved.tick(sleepers=2)
    await triggerer.sync()
    assert triggerer.told() == [a, b]
    assert moved.sleeps[-1] == 8.0
    await triggerer.stop()
    moved._asleep.clear()

    successor = Triggerer()
    successor.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    await successor.sync()
    await successor.stop()
    assert successor.told() == [c]


# --- over restarts -----------------------------------------------------------------------------------------------


async def test_a_restart_reports_nothing_twice(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """What was told isn't told again after a restart, and what ended meanwhile is, also if it has left the list."""
    trigger = OperationsEventTrigger(PARENT)
    long = start(emulator.url, name=f"{PARENT}/operations/long", duration=1000)
    triggerer.run(trigger, "asset")
    await moved.settle()
    told = start(emulator.url, name=f"{PARENT}/operations/told", duration=1)
    await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == [told]
    await triggerer.stop()

    quick = start(emulator.url, name=f"{PARENT}/operations/quick", duration=1)
    moved.now += 5000
    successor = Triggerer()
    successor.run(trigger, "asset")
    await moved.settle()
    await moved.tick()
    await successor.sync()
    await successor.stop()
    assert successor.told() == [quick, long]


async def test_restart_and_gone_from_the_list(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """An operation that was running before a restart, and whose end the server doesn't list, is asked for."""
    trigger = OperationsEventTrigger(PARENT, filter="done=false")
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=100)
    triggerer.run(trigger, "asset")
    await moved.settle()
    await triggerer.stop()
    moved.now += 5000
    successor = Triggerer()
    successor.run(trigger, "asset")
    await moved.settle()
    for _ in range(5):
        await moved.tick()
    await successor.sync()
    await successor.stop()
    assert successor.told() == [name]
    assert len(emulator.journal("get")) == 1


async def test_crash_before_the_event_is_stored(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, supervisor: Supervisor
) -> None:
    """An event that the triggerer has lost with itself is told by the next one."""
    trigger = OperationsEventTrigger(PARENT)
    triggerer.run(trigger, "asset")
    await moved.settle()
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    await moved.tick()
    await triggerer.stop()
    assert triggerer.told() == []
    successor = Triggerer()
    successor.run(trigger, "asset")
    await moved.settle()
    await successor.sync()
    await moved.tick()
    await successor.sync()
    assert successor.told() == [name]
    await successor.stop()
    last = Triggerer()
    last.run(trigger, "asset")
    await moved.settle()
    await moved.tick()
    await last.sync()
    await last.stop()
    assert last.told() == []


async def test_a_failover_reports_nothing_twice(
    emulator: Emulator, moved: Gate, triggerer: Triggerer
) -> None:
    """A triggerer that was held up, and whose watcher another runs by now, doesn't tell what that one has told."""
    trigger = OperationsEventTrigger(PARENT)
    triggerer.run(trigger, "asset")
    await moved.settle()
    held, moved._asleep = moved._asleep, []
    first = start(emulator.url, name=f"{PARENT}/operations/first", duration=1)
    moved.now += 72
    other = Triggerer()
    other.run(trigger, "asset")
    await moved.settle()
    await other.sync()
    await moved.tick()
    await other.sync()
    assert other.told() == [first]
    second = start(emulator.url, name=f"{PARENT}/operations/second", duration=1)
    await moved.tick()
    await other.sync()
    moved._asleep += held
    await moved.tick(sleepers=2)
    await triggerer.sync()
    await other.sync()
    assert other.told() == [first, second]
    assert triggerer.told() == []
    await other.stop()


async def test_notes_are_kept_in_every_asset(
    emulator: Emulator, moved: Gate, supervisor: Supervisor, triggerer: Triggerer
) -> None:
    """A watcher of two assets keeps its notes in both: when one is taken away, it goes on."""
    trigger = OperationsEventTrigger(PARENT)
    triggerer.run(trigger, "a", "b")
    await moved.settle()
    await triggerer.stop()
    assert {name for name, _ in supervisor.values} == {"a", "b"}
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    moved.now += 10
    successor = Triggerer()
    successor.run(trigger, "b", "c")
    await moved.settle()
    await successor.sync()
    await successor.stop()
    assert successor.told() == [name]


async def test_two_watchers_of_one_asset(
    emulator: Emulator, moved: Gate, supervisor: Supervisor, triggerer: Triggerer
) -> None:
    """Watchers that tell something else have notes of their own; another pace is no other watcher."""
    triggerer.run(OperationsEventTrigger(PARENT, outcome="failed"), "a")
    triggerer.run(OperationsEventTrigger(PARENT), "a")
    await moved.settle()
    await triggerer.stop()
    keys = set(supervisor.values)
    assert len(keys) == 2
    assert all(key.startswith("airflow_provider_operations.") for _, key in keys)
    other = Triggerer()
    other.run(OperationsEventTrigger(PARENT, poke_interval=60), "a")
    await moved.settle()
    await other.stop()
    assert set(supervisor.values) == keys


async def test_without_a_store(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a store each start is a first one, and the log says so."""
    caplog.set_level(logging.INFO)
    triggerer.run(OperationsEventTrigger(PARENT))
    await moved.settle()
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == [name]
    assert any("Nothing is kept for a restart" in line for line in ours(caplog))


async def test_while_the_store_is_away_nothing_is_reported(
    emulator: Emulator,
    moved: Gate,
    supervisor: Supervisor,
    triggerer: Triggerer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While Airflow can't say what was told, nothing is; later what ended meanwhile is told. It's logged once."""
    trigger = OperationsEventTrigger(PARENT)
    triggerer.run(trigger, "asset")
    await moved.settle()
    await triggerer.stop()
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    supervisor.broken = True
    successor = Triggerer()
    successor.run(trigger, "asset")
    await moved.settle()
    await moved.tick()
    await moved.tick()
    await successor.sync()
    assert successor.told() == []
    assert len(ours(caplog, logging.WARNING)) == 1
    supervisor.broken = False
    await moved.tick()
    await successor.sync()
    assert successor.told() == [name]
    supervisor.broken = True
    late = start(emulator.url, name=f"{PARENT}/operations/late", duration=1)
    await moved.tick()
    await successor.sync()
    supervisor.broken = False
    await successor.stop()
    assert successor.told() == [name, late]


async def test_before_3_3_run_does_the_same_alone(emulator: Emulator, moved: Gate) -> None:
    """Where Airflow has no shared streams, before 3.3, ``run`` does the same alone."""
    trigger = OperationsEventTrigger(PARENT, outcome="succeeded")
    events: list[Any] = []

    async def collect() -> None:
        async for event in trigger.run():
            events.append(event.payload["name"])  # noqa: PERF401  it never ends

    task = asyncio.create_task(collect())
    await moved.settle()
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    start(emulator.url, name=f"{PARENT}/operations/y", error={"code": 3})
    await moved.tick()
    await moved.tick()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == [name]
    assert lists(emulator) == 3


# --- what goes wrong ---------------------------------------------------------------------------------------------


async def test_an_outage_is_tolerated_as_long_as_it_lasts(
    emulator: Emulator, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is borne as long as it lasts, with a line at its begin and its end; what ended in it is told."""
    caplog.set_level(logging.INFO)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    name = start(emulator.url, name=f"{PARENT}/operations/x", duration=1)
    emulator.script_fault(kind="list", status=503)
    for _ in range(20):
        await moved.tick(3600)
    emulator.clear_faults()
    await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == [name]
    where = "operations under 'projects/p' by connection 'operations_default': "
    assert ours(caplog)[1:] == [
        f"{where}no answer (HTTP 503, UNAVAILABLE (14): Scripted by fault-1); asking again until there is one",
        f"{where}the server answers again",
    ]


async def test_the_servers_pause_is_kept(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """The pause that the server asks for is kept, up to ten minutes."""
    emulator.script_fault(kind="list", status=429, headers={"Retry-After": "100"}, times=1)
    emulator.script_fault(kind="list", status=429, headers={"Retry-After": "100000"}, times=1)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    await moved.tick()
    await moved.tick()
    assert moved.sleeps[:2] == [100.0, 600.0]
    assert 27 <= moved.sleeps[2] <= 30


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        pytest.param(
            OperationsEventTrigger("p", filter="colour is red"), "HTTP 400, INVALID_ARGUMENT (3)", id="filter"
        ),
        pytest.param(OperationsEventTrigger("../p"), "InvalidName", id="parent"),
        pytest.param(OperationsEventTrigger("p", operations_conn_id="nowhere"), "nowhere", id="connection"),
        pytest.param(OperationsEventTrigger("p", base_url="ftp://x"), "InvalidConnection", id="base_url"),
    ],
)
async def test_what_will_not_pass_is_logged_once(
    emulator: Emulator,
    moved: Gate,
    triggerer: Triggerer,
    caplog: pytest.LogCaptureFixture,
    trigger: OperationsEventTrigger,
    text: str,
) -> None:
    """What won't pass by itself is logged once and tried again, a minute later at the earliest."""
    triggerer.run(trigger, "asset")
    await moved.settle()
    await moved.tick()
    await moved.tick()
    (line,) = ours(caplog, logging.WARNING)
    assert text in line
    assert moved.sleeps == [60.0, 60.0, 60.0]


async def test_a_cancel_leaves_nothing_behind(emulator: Emulator, moved: Gate, triggerer: Triggerer) -> None:
    """A watcher that is taken away leaves neither a task nor a session behind."""
    before = asyncio.all_tasks()
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    await triggerer.stop()
    assert asyncio.all_tasks() == before


# --- servers with many operations --------------------------------------------------------------------------------


class Catalog:
    """
    A server of many operations, as a list that tests change.

    :param filters: what it does with a filter: takes ``done=false``, or refuses any.
    """

    def __init__(self, *, filters: bool = True, page_size: int = 500) -> None:
        self.operations: list[dict[str, Any]] = []
        self.filters = filters
        self.page_size = page_size
        self.asked: list[str] = []
        self.server = RawServer(self.answer)

    def add(self, number: int, *, done: bool = True, first: bool = True) -> dict[str, Any]:
        times = {"createTime": _time(number)} | ({"endTime": _time(number + 1)} if done else {})
        operation = {"name": f"{PARENT}/operations/{number}", "done": done, "metadata": times}
        self.operations.insert(0 if first else len(self.operations), operation)
        return operation

    def answer(self, connection: socket.socket) -> None:
        target = urlsplit(self.server.seen[-1].line.split()[1])
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        if not target.path.endswith("/operations"):
            self.asked.append("get")
            name = target.path.removeprefix("/v1/")
            found = next((each for each in self.operations if each["name"] == name), None)
            body = json.dumps(found or {"code": 5}).encode()
            connection.sendall(answer(200 if found else 404, body))
            return
        self.asked.append(f"list {query.get('filter', '')}{query.get('pageToken', '')}")
        if "filter" in query and not self.filters:
            connection.sendall(answer(400, b'{"code": 3, "message": "no filters"}'))
            return
        listed = [each for each in self.operations if "filter" not in query or not each["done"]]
        begin = int(query.get("pageToken", 0))
        page = {"operations": listed[begin : begin + self.page_size]}
        if begin + self.page_size < len(listed):
            page["nextPageToken"] = str(begin + self.page_size)  # type: ignore[assignment]
        connection.sendall(answer(200, json.dumps(page).encode()))


def _time(number: int) -> str:
    moment = datetime(2027, 1, 15, 8, tzinfo=timezone.utc) + timedelta(seconds=number)
    return moment.isoformat().replace("+00:00", ".123456789Z")


@pytest.fixture
def catalog(moved: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """A server of many operations behind the default connection."""
    catalog = Catalog()
    with catalog.server:
        set_connection(monkeypatch, catalog.server.url, extra={"timeout": 5})
        yield catalog


async def test_a_page_of_nothing_new_is_the_last(catalog: Catalog, moved: Gate, triggerer: Triggerer) -> None:
    """Where the newest come first a look ends with the page that brings nothing new; the first reads them all."""
    for number in range(-2000, 0):
        catalog.add(number)
    deep = catalog.operations[1900]
    deep["done"] = False
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    assert catalog.asked == ["list ", "list 500", "list 1000", "list 1500"]
    catalog.asked.clear()
    await moved.tick()
    assert catalog.asked == ["list ", "get"]
    new = [catalog.add(number)["name"] for number in range(1, 701)]
    deep["done"] = True
    catalog.asked.clear()
    await moved.tick()
    assert catalog.asked == ["list ", "list 500", "list 1000", "get"]
    await triggerer.sync()
    assert sorted(triggerer.told()) == sorted([*new, deep["name"]])

    late = OperationsEventTrigger(PARENT, outcome="succeeded")
    triggerer.run(late, "asset")
    catalog.asked.clear()
    await moved.tick()
    await moved.tick()
    assert len(catalog.asked) == 1 + 6  # whoever joins needs to know what is over


async def test_too_many_newest_first(catalog: Catalog, moved: Gate, triggerer: Triggerer) -> None:
    """With a hundred thousand operations no more than 3,000 are read; those that run are listed besides."""
    for number in range(-1, -100_001, -1):
        catalog.add(number, first=False)
    deep = catalog.operations[90_000]
    deep["done"] = False
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    assert catalog.asked == [f"list {start or ''}" for start in range(0, 3000, 500)] + ["list done=false"]
    catalog.asked.clear()
    deep["done"] = True
    quick = catalog.add(1)
    await moved.tick()
    await triggerer.sync()
    assert catalog.asked == ["list ", "list 500", "get"]
    assert sorted(triggerer.told()) == sorted([deep["name"], quick["name"]])


async def test_too_many_in_another_order(
    catalog: Catalog, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they come in another order, those that run are listed from then on, and the log says what that means."""
    for number in range(-100_000, 0):
        catalog.add(number, first=False)
    running = catalog.add(0, done=False, first=False)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    catalog.asked.clear()
    await moved.tick()
    running["done"] = True
    await moved.tick()
    await moved.tick()
    await triggerer.sync()
    assert catalog.asked == ["list done=false", "list done=false", "get", "list done=false"]
    assert triggerer.told() == [running["name"]]
    (line,) = ours(caplog, logging.WARNING)
    assert "more than 3000" in line
    assert "one that begins and ends between two looks isn't noticed" in line


async def test_too_many_without_filters(
    catalog: Catalog, moved: Gate, triggerer: Triggerer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they can't be filtered either, the first 3,000 are watched, and the log says so, once."""
    catalog.filters = False
    for number in range(-10_000, 0):
        catalog.add(number, first=False)
    early = catalog.operations[0]
    early["done"] = False
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    catalog.asked.clear()
    early["done"] = True
    await moved.tick()
    await moved.tick()
    await triggerer.sync()
    assert len(catalog.asked) == 12
    assert triggerer.told() == [early["name"]]
    (line,) = ours(caplog, logging.WARNING)
    assert "only the first 3000 are watched" in line


async def test_small_pages_are_read_to_the_end(catalog: Catalog, moved: Gate, triggerer: Triggerer) -> None:
    """A server whose pages hold one operation each is read to its end: one alone tells no order."""
    catalog.page_size = 1
    for number in range(-5, 0):
        catalog.add(number, first=False)
    triggerer.run(OperationsEventTrigger(PARENT), "asset")
    await moved.settle()
    new = catalog.add(1, first=False)
    await moved.tick()
    await triggerer.sync()
    assert triggerer.told() == [new["name"]]
    assert len(catalog.asked) == 5 + 6


async def test_many_leave_the_list(
    catalog: Catalog, moved: Gate, triggerer: Triggerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that have left the list a bounded number is asked for at a time; all are told in the end."""
    monkeypatch.setattr(looking, "MAX_ASKED", 10)
    names = [catalog.add(number, done=False)["name"] for number in range(25)]
    triggerer.run(OperationsEventTrigger(PARENT, filter="done=false"), "asset")
    await moved.settle()
    for operation in catalog.operations:
        operation["done"] = True
    counts = []
    for _ in range(4):
        catalog.asked.clear()
        await moved.tick()
        counts.append(catalog.asked.count("get"))
    await triggerer.sync()
    assert counts == [10, 10, 5, 0]
    assert sorted(triggerer.told()) == sorted(names)


async def test_a_server_that_never_comes_to_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look ends when the time for a request is over, and is made again."""
    looks = looking.ListStream(PARENT, None, 10.0, {"operations_conn_id": "operations_default"})
    with dripping("trailers") as server:
        set_connection(monkeypatch, server.url, extra={"timeout": 0.3})
        stream: Any = looks.open_stream()
        with caplog.at_level(logging.WARNING), suppress(asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), 5)
        await stream.aclose()
    assert "no answer (" in caplog.text
    await looks.aclose()
