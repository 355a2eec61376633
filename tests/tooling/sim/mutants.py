"""
Whether the search sees what it should: changes of the package, one at a time, each of which must be found.

``python -m tests.tooling.sim.mutants [--only WORDS]``; the exit code is 0 only if all were found.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import uuid
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_provider_operations._airflow import compat
from airflow_provider_operations._lifecycle import plan as plans
from airflow_provider_operations._lifecycle.plan import Plan as Decision
from airflow_provider_operations._lifecycle.plan import Step
from airflow_provider_operations._lifecycle.record import State
from airflow_provider_operations._lifecycle.start_call import StartCall
from airflow_provider_operations._lifecycle.task_state import Records
from airflow_provider_operations._tasks import base, starting
from airflow_provider_operations._tasks.base import BaseOperationOperator
from airflow_provider_operations._tasks.starting import StartsOperation
from airflow_provider_operations.triggers import OperationTrigger, _ownership
from airflow_provider_operations.triggers._kill import Kill
from airflow_provider_operations.triggers._ownership import Fate

from .schedule import play
from .search import mixed, singles

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["MUTANTS", "hunt"]

LIMIT_S = 60.0
_plan, _fate_of, _write, _arguments, _task_state = (
    plans.plan,
    _ownership.fate_of,
    Records.write,
    StartCall.arguments,
    compat.task_state,
)
_cancel = Kill._cancel


def _nothing(*_: Any, **__: Any) -> None: ...


async def _nothing_async(*_: Any, **__: Any) -> None: ...


def _clear_is_a_crash(record: Any, facts: Any, call: Any) -> Any:
    return _plan(record, replace(facts, max_tries=record.max_tries) if record else facts, call)


def _crash_is_a_clear(record: Any, facts: Any, call: Any) -> Any:
    return _plan(record, replace(facts, max_tries=facts.max_tries + 1), call)


def _retry_is_the_end(*arguments: Any, **options: Any) -> Fate:
    fate = _fate_of(*arguments, **options)
    return Fate.OVER if fate is Fate.UNDECIDED else fate


async def _cancel_once(kill: Kill, hook: Any) -> None:
    await _cancel(kill, hook)


async def _kill_unshielded(trigger: OperationTrigger) -> None:
    deadline = trigger.deadline_epoch_s
    kill = Kill(
        trigger.operation_name, trigger.owner, trigger.task_instance, deadline, trigger._hook, trigger.log
    )
    await kill.run()


def _write_unless(state: State) -> Any:
    def write(records: Records, record: Any) -> None:
        if record.state is state:
            records.current, records.stored = record, record.state
        else:
            _write(records, record)

    return write


def _silence_is_no_record(_: Any, records: Records) -> Any:
    try:
        return records.read()
    except Exception:  # noqa: BLE001  that is the change
        return None


def _new_request_id(call: StartCall, _: str) -> Any:
    return _arguments(call, str(uuid.uuid4()))


def _silence_is_the_end(place: Any) -> str | None:
    try:
        return _task_state(place)
    except Exception:  # noqa: BLE001  that is the change
        return "failed"


def _always(value: Any) -> Any:
    return lambda *_, **__: value


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "each try starts": (starting, "plan", _always(Decision(Step.START))),
    "no start is sent again": (plans, "_after_a_lost_answer", _always(Decision(Step.START))),
    "a clear is taken for a crash": (starting, "plan", _clear_is_a_crash),
    "a crash is taken for a clear": (starting, "plan", _crash_is_a_clear),
    "what was cleared runs on": (StartsOperation, "_end_predecessor", _nothing),
    "workers don't cancel": (BaseOperationOperator, "on_kill", _nothing),
    "workers don't ask": (BaseOperationOperator, "_kill_ends", _always(True)),
    "workers never take a task for over": (BaseOperationOperator, "_kill_ends", _always(False)),
    "workers take silence for the end": (base, "task_state", _silence_is_the_end),
    "workers have no last moment": (BaseOperationOperator, "see_after_its_end", _nothing),
    "triggers don't cancel": (OperationTrigger, "on_kill", _nothing_async),
    "triggers don't ask": (_ownership, "fate_of", _always(Fate.OVER)),
    "triggers take a retry for the end": (_ownership, "fate_of", _retry_is_the_end),
    "triggers cancel once": (Kill, "_cancel", _cancel_once),
    "a kill's work ends with its coroutine": (OperationTrigger, "on_kill", _kill_unshielded),
    "no start is noted before": (Records, "write", _write_unless(State.STARTING)),
    "no start is noted after": (Records, "write", _write_unless(State.STARTED)),
    "request ids are new each time": (StartCall, "arguments", _new_request_id),
    "the store's silence is no record": (StartsOperation, "_read_patiently", _silence_is_no_record),
}


def hunt(mutant: AbstractContextManager[Any], seed: int, limit_s: float = LIMIT_S) -> tuple[Any, int, float]:
    """Play schedules until one breaks a promise; return it, how many were played, and for how long."""
    clock = time.perf_counter
    alone = list(singles(seed))
    random.Random(seed).shuffle(alone)
    several = mixed(seed)
    began, played = clock(), 0
    with mutant:
        for plan in chain.from_iterable((one, next(several)) for one in alone):
            seen = play(plan)
            played += 1
            if seen.violations or clock() - began > limit_s:
                return (seen if seen.violations else None), played, clock() - began
    return None, played, clock() - began


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words of the mutant's name")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missed = 0
    for name, change in MUTANTS.items():
        if options.only in name:
            seen, played, spent_s = hunt(patch.object(*change), options.seed)
            missed += seen is None
            found = f"{seen.violations[0]}: {seen.plan}" if seen else "NOT FOUND"
            print(f"{name}: {played} schedules, {spent_s:.1f} s: {found}", flush=True)
    print(f"{missed} not found")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
