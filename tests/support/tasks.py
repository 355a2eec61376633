"""Tasks run in this process: real ``execute`` and ``resume_execution``, a real socket, a clock that is moved."""

from __future__ import annotations

import asyncio
import importlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from airflow_provider_operations._airflow.compat import AirflowRescheduleException
from airflow_provider_operations._protocol.rendering import each_text
from tests.versions import AIRFLOW, deserialize, rescheduled, serialize

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tests.support.clocks import MovedClock


def taken_by_airflow(value: Any) -> Any:
    """
    Return a value as it comes out of Airflow's serializer and database.

    :raises Exception: the channel between task and supervisor (MessagePack) or PostgreSQL wouldn't take it.
    """
    text = json.dumps(serialize(value), allow_nan=False, ensure_ascii=False)
    text.encode()  # no half of a character
    taken = json.loads(text, parse_int=_of_64_bits)
    each_text(_without_nul, taken)
    return deserialize(taken)


def _of_64_bits(digits: str) -> int:
    number = int(digits)
    number.to_bytes(8, "big", signed=number < 0)
    return number


def _without_nul(text: str) -> str:
    assert "\0" not in text, "PostgreSQL has none"
    return text


class TaskInstance:
    """The part of a task instance that tasks use; XComs go through Airflow's own serializer."""

    map_index = -1
    run_id = "run"
    dag_id = "dag"

    def __init__(self, task_id: str, try_number: int = 1, max_tries: int = 3) -> None:
        self.task_id = task_id
        self.try_number = try_number
        self.max_tries = max_tries
        self.xcoms: dict[str, Any] = {}
        self.refused: Collection[str] = ()
        """Keys of XComs that can't be pushed or pulled."""
        self.first_reschedule: datetime | None = None

    def xcom_push(self, key: str, value: Any) -> None:
        if key in self.refused:
            raise ConnectionError("the API server is away")
        self.xcoms[key] = taken_by_airflow(value)

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int | None = None) -> Any:
        """Without map_indexes of all instances of the task: what is there alone, or a list, as Airflow does."""
        assert task_ids == self.task_id
        if key in self.refused:
            raise ConnectionError("the API server is away")
        if map_indexes is None:
            return self.xcoms.get(key, [])
        assert map_indexes == self.map_index
        return self.xcoms.get(key)

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first_reschedule


def refused_earlier() -> dict[str, Any]:
    """Return the record of an earlier try whose start the service has refused: what a retry usually finds."""
    from airflow_provider_operations._lifecycle.record import Record, State

    return Record(State.REJECTED, 3, 1, "id", "digest", 1_799_999_000.0, 1_800_003_600.0).to_json()


class StateStore(dict[str, Any]):
    """Airflow's task state store, in memory."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert value is not None
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Verdict:
    """How a task ended."""

    state: str
    value: Any = None
    error: BaseException | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    deferrals: int = 0
    reschedules: int = 0

    @property
    def essence(self) -> tuple[str, str, Any]:
        """What must be the same in every mode."""
        shown = self.error.__cause__ if self.state == "skipped" and self.error else self.error
        return self.state, type(shown).__name__, self.value


def context_of(ti: TaskInstance, store: StateStore | None = None) -> Any:
    """Return the context that a worker gives a task."""
    context: dict[str, Any] = {"ti": ti}
    if AIRFLOW >= (3, 3):
        context["task_state_store"] = StateStore() if store is None else store
    return context


class Driver:
    """Does with a task what worker, triggerer and scheduler do."""

    def __init__(self, moved: MovedClock) -> None:
        self.moved = moved

    def run(
        self,
        make: Callable[[], Any],
        *,
        store: StateStore | None = None,
        try_number: int = 1,
        max_tries: int = 3,
        refused: Collection[str] = (),
        pushed: dict[str, Any] | None = None,
    ) -> Verdict:
        """
        Run one try of a task to its end.

        :param make: makes the operator anew for each time that a worker would.
        :param store: what earlier tries have left;
        :param refused: keys of XComs that can't be pushed or pulled;
        :param pushed: XComs that somebody else has pushed meanwhile.
        """
        task = make()
        ti = TaskInstance(task.task_id, try_number, max_tries)
        ti.refused = refused
        ti.xcoms.update(pushed or {})
        context = context_of(ti, store)
        verdict = Verdict("success")

        resume: tuple[str, Any] | None = None
        while True:
            try:
                with rescheduled(ti):
                    verdict.value = (
                        task.execute(context) if resume is None else task.resume_execution(*resume, context)
                    )
            except TaskDeferred as deferral:
                verdict.deferrals += 1
                event = self.trigger(deferral.trigger)
                kwargs: Any = json.loads(json.dumps(serialize(deferral.kwargs)))
                resume = (deferral.method_name, {**kwargs, "event": event})
                task = make()
                continue
            except AirflowRescheduleException as reschedule:
                verdict.reschedules += 1
                assert verdict.reschedules < 10_000
                # Airflow takes the time when it has the request, so what the stay saw was before.
                ti.first_reschedule = ti.first_reschedule or datetime.fromtimestamp(
                    self.moved.now + 0.05, timezone.utc
                )
                self.moved.sleep(max(reschedule.reschedule_date.timestamp() - self.moved.now, 0.0))
                task = make()
                continue
            except AirflowSkipException as skip:
                verdict.state, verdict.error = "skipped", skip
            except Exception as error:  # noqa: BLE001  whatever a task fails with is its verdict
                verdict.state, verdict.error = "failed", error
            verdict.xcoms = ti.xcoms
            return verdict

    def trigger(self, deferred: Any) -> Any:
        """Run a trigger as a triggerer does: rebuilt from what is stored; return its one event's payload."""
        path, kwargs = deferred.serialize()
        if path.endswith(".DateTimeTrigger"):  # Airflow's own, which knows only the real clock
            left = kwargs["moment"] - datetime.now(timezone.utc)
            self.moved.sleep(max(left.total_seconds(), 0.0))
            return kwargs["moment"]
        stored: Any = deserialize(json.loads(json.dumps(serialize(kwargs))))
        module, _, name = path.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**stored)

        async def first_event() -> Any:
            events = [event async for event in trigger.run()]
            assert len(events) == 1
            return events[0].payload

        return taken_by_airflow(asyncio.run(first_event()))
