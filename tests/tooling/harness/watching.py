"""
What a task's code does that neither the database nor the server shows: kills, and what Airflow answers to them.

``watch`` lets the package say it, in a real Airflow (see ``recorder``) and in the simulation alike.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_provider_operations._airflow.states import place_of
from airflow_provider_operations._tasks import base
from airflow_provider_operations._tasks.base import BaseOperationOperator
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationTrigger, _ownership

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Say = Callable[[dict[str, Any], str, dict[str, Any]], None]
    """Takes the task instance's place, what happens, and facts about it."""

__all__ = ["FILE", "to_file", "watch"]

FILE = "OPERATIONS_WATCHED"
"""Environment variable: where the processes of a real Airflow write what they see."""


def watch(say: Say) -> ExitStack:
    """Let all tasks and triggers of this process say what they do; the result undoes it."""
    stack = ExitStack()
    on_kill, of_trigger = BaseOperationOperator.on_kill, OperationTrigger.on_kill
    begin_stay, ask, task_state = BaseOperationOperator._begin_stay, _ownership._ask, vars(base)["task_state"]

    @wraps(on_kill)
    def worker_is_killed(task: Any) -> None:
        if task._task_instance is not None:
            say(place_of(task._task_instance), "on_kill in worker", {})
        on_kill(task)

    @wraps(of_trigger)
    async def trigger_is_killed(trigger: Any) -> None:
        if trigger.task_instance is not None:
            say(place_of(trigger.task_instance), "on_kill in triggerer", {})
        await of_trigger(trigger)

    @wraps(begin_stay)
    def stay_begins(task: Any, context: Any) -> None:
        given = getattr(task, "operation_name", None)
        say(place_of(context["ti"]), "stay", {**form_of(task), "operation": given})
        begin_stay(task, context)

    @wraps(ask)
    def trigger_asks(place: dict[str, Any]) -> tuple[str | None, str | None]:
        state, own = ask(place)
        say(place, "asks in triggerer", {"state": state, "own": own})
        return state, own

    @wraps(task_state)
    def worker_asks(place: dict[str, Any]) -> str | None:
        state: str | None = task_state(place)
        say(place, "asks in worker", {"state": state})
        return state

    for where, name, watched in (
        (BaseOperationOperator, "on_kill", worker_is_killed),
        (OperationTrigger, "on_kill", trigger_is_killed),
        (BaseOperationOperator, "_begin_stay", stay_begins),
        (_ownership, "_ask", trigger_asks),
        (base, "task_state", worker_asks),
    ):
        stack.enter_context(patch.object(where, name, watched))
    return stack


def form_of(task: Any) -> dict[str, Any]:
    """Return what makes a task's form: see ``sim.traces.family_of``."""
    operator = isinstance(task, RunOperationOperator)
    return {
        "kind": "operator" if operator else "sensor" if isinstance(task, OperationSensor) else "other",
        "deferrable": bool(task.deferrable),
        "reschedules": bool(not operator and getattr(task, "reschedule", False)),
        "request_ids": bool(operator and task.request_id_field),
        "durable": bool(not operator or task.durable),
        "waits": bool(not operator or task.wait_for_completion),
        "ends_from_trigger": bool(getattr(task, "end_from_trigger", False)),
        "limited": task.timeout < LONG_S or task.execution_timeout is not None,
        "cancels": bool(task.cancel_on_kill),
    }


LONG_S = 24 * 3600.0


def to_file(path: Path | str) -> ExitStack:
    """Let this process, and what it forks, append to a file what its tasks and triggers do."""

    def say(place: dict[str, Any], what: str, facts: dict[str, Any]) -> None:
        line = json.dumps({"at_s": time.time(), "what": what, **place, "facts": facts})
        file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o666)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    return watch(say)
