"""Sweeps: the real ``Sweep`` on the simulated Airflow's database, again and again, beside whatever else happens."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.states import OVER_OR_REMOVED
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY
from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY
from airflow_provider_operations._sweep import judgement
from airflow_provider_operations._sweep.database import NOTE_SUFFIX
from airflow_provider_operations._sweep.judgement import Found, Note, Step
from airflow_provider_operations._sweep.service import Services
from airflow_provider_operations._sweep.sweep import Sweep

from .kernel import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_operations._sweep.latest import Latest

    from .airflow import Airflow
    from .kernel import Kernel
    from .world import World

__all__ = ["Sweeper"]

EVERY_S = (5.0, 60.0)
"""A sweep begins so often, from and to; one that takes longer has company."""

TWO_AT_ONCE = 0.3
"""So often another sweep begins at nearly the same time."""

STATEMENT_S = (0.002, 0.02)


class Sweeper:
    """Begins sweeps, each a process of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kernel: Kernel = world.kernel
        self._every_s = self._kernel.random.uniform(*EVERY_S)
        self._number = 0
        self._idle: tuple[Any, ...] | None = None
        """What the database had when no later sweep would have found anything either."""
        self.last: Process | None = None
        """That of the sweep which began last."""
        self._kernel.at(self._every_s, self._round)

    def _round(self) -> None:
        """Begin a sweep if it would find something, and often another one."""
        self._kernel.at(self._every_s, self._round)
        airflow = self._world.airflow
        known = (airflow.state, airflow.changed_s, {**airflow.stored_s}, {**airflow.xcoms})
        if known == self._idle:
            return
        if self._would_act(self._kernel.now):
            self._begin()
            if self._kernel.random.random() < TWO_AT_ONCE:
                self._kernel.at(self._kernel.random.uniform(0, 0.2), self._begin)
        elif not self._would_act(math.inf):
            self._idle = known

    def _would_act(self, now_s: float) -> bool:
        found = found_in(self._world.airflow)
        return any(judgement.judge(one, now_s).step in {Step.LOOK, Step.LOST} for one in found)

    def _begin(self) -> None:
        self._number += 1
        self.last = Process(f"sweep {self._number}")
        sweep = Sweep(_Database(self._world, self.last), Services())  # type: ignore[arg-type]  # what it asks of one

        def run() -> None:
            for result in sweep.run():
                if result.said.endswith("see the log"):
                    self._world.judge.broken(f"a sweep fails: {result.said}")

        self._kernel.spawn(self.last, run)


def found_in(airflow: Airflow) -> list[Found]:
    """Return what a sweep finds in Airflow's database now."""
    keys = [key for key in (RECORD_KEY, SENSOR_RECORD_KEY) if key in airflow.store]
    return [_found(airflow, key) for key in keys if airflow.state in OVER_OR_REMOVED]


class _Database:
    """What a sweep asks of a database, of one task; each call is one transaction, which takes a moment."""

    def __init__(self, world: World, process: Process) -> None:
        self._airflow = world.airflow
        self._kernel: Kernel = world.kernel
        self._world = world
        self._process = process

    def _statement(self, what: str) -> None:
        """Send a statement; what follows is done at once, when it has arrived."""
        self._world.hand_over(self._process, what, "leaves")
        self._kernel.check_alive(self._process)
        self._kernel.sleep(self._kernel.random.uniform(*STATEMENT_S))

    def _answer(self, what: str) -> None:
        self._world.hand_over(self._process, what, "is carried out")
        self._kernel.sleep(self._kernel.random.uniform(*STATEMENT_S))

    def found(self) -> Iterator[Found]:
        self._statement("due")
        found = found_in(self._airflow)
        self._answer("due")
        yield from found

    def ended(self, _: Latest) -> None: ...

    def team(self, _: Found) -> None:
        return None

    def waited_for(self, _: Found, __: str) -> bool:
        return False

    def arguments(self, _: Found) -> list[Mapping[str, Any]]:
        self._statement("arguments")
        task = self._world.task
        named = {"operation_name": task.operation_name} if self._world.form.waits_only else {}
        return [{**ServiceOptions.of(task).arguments(), **named}]

    def write(self, found: Found, before: str | None, note: Note) -> str | None:
        self._statement("write")
        text = self._exchange(found, before, note)
        self._answer("write")
        return text

    def _exchange(self, found: Found, before: str | None, note: Note) -> str | None:
        airflow, key = self._airflow, found.key + NOTE_SUFFIX
        if airflow.is_gone or airflow.store.get(key) != before:
            return None
        text = airflow.store[key] = json.dumps(note.to_json())
        airflow.stored_s[key] = found.stored_at if note.settled else self._kernel.now
        return text

    def confirm(self, found: Found, _: str, before: str, note: Note) -> str | None:
        self._statement("confirm")
        text = None
        if found.key in self._airflow.store and _of_task(_found(self._airflow, found.key)) == _of_task(found):
            text = self._exchange(found, before, note)
            self._world.judge.sweep_confirms()
        self._answer("confirm")
        return text


def _found(airflow: Airflow, key: str) -> Found:
    swept = airflow.store.get(key + NOTE_SUFFIX)
    return Found(
        **airflow.place,
        key=key,
        ti_id=airflow.id,
        state=airflow.state,
        try_number=airflow.try_number,
        max_tries=airflow.max_tries,
        quiet_since_epoch_s=max(airflow.changed_s, airflow.stored_s[key]),
        stored=airflow.store[key],
        stored_at=airflow.stored_s[key],
        swept=swept,
        note=Note.from_json(json.loads(swept)) if swept else None,
        swept_at=airflow.stored_s.get(key + NOTE_SUFFIX),
        ended=_value(airflow.xcoms.get(OPERATION_KEY)),
        named=_value(airflow.xcoms.get(OPERATION_NAME_KEY)),
    )


def _of_task(found: Found) -> tuple[Any, ...]:
    return found.ti_id, found.state, found.try_number, found.max_tries, found.stored_at


def _value(stored: Any) -> Any:
    """Return an XCom as it was before it was stored."""
    try:
        return json.loads(stored) if isinstance(stored, str) else stored
    except ValueError:
        return stored
