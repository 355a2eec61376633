"""
DAGs of the chaos suite: one task each, told by ``dag_run.conf`` what to start and where to die.

``{"round": str, "script": dict, "connection": str, "die": {phase: how}, "linger": {phase: seconds}}``: at a phase
the task kills itself, once per round, or stays there a while, so that somebody else can act upon it.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

if TYPE_CHECKING:
    from airflow_provider_operations.hooks.worker import WorkerClient

SECONDS = 12
"""``timeout`` and ``execution_timeout`` of the DAGs that have one."""


class _Mortal:
    """Mixed into an operator: kills or delays itself at the phases that the run's conf names."""

    _plan: dict[str, Any]
    _try: int

    def _prepare(self, context: Any) -> None:
        self._plan = context["dag_run"].conf or {}
        self._try = context["ti"].try_number

    def _phase(self, name: str) -> None:
        if (seconds := self._plan.get("linger", {}).get(name)) and _first(
            self._plan["round"], f"linger-{name}"
        ):
            time.sleep(seconds)
        how = self._plan.get("die", {}).get(name)
        if how and _first(self._plan["round"], f"die-{name}"):
            _die(how)

    def _waits(self) -> None:
        """Tell that this try has an operation in its hands."""
        _first(self._plan["round"], f"waits-{self._try}")

    def _phase_in(self, name: str, seconds: float) -> None:
        """Reach a phase after a while, whatever the main thread waits for then."""
        if name in self._plan.get("die", {}):
            timer = Timer(seconds, self._phase, (name,))
            timer.daemon = True
            timer.start()


def _first(round_id: str, what: str) -> bool:
    """Tell whether this is the first time, over all processes."""
    marker = Path(os.environ["CHAOS_MARKERS"]) / f"{round_id}.{what}"
    with suppress(FileExistsError):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return True
    return False


def _die(how: str) -> None:
    """
    Kill this task.

    :param how: ``task``: the task's process; ``worker``: its supervisor too, so that nobody reports the death;
        ``evict``: SIGTERM to the supervisor, as when a pod is evicted.
    """
    if how == "evict":
        os.kill(os.getppid(), signal.SIGTERM)
        return
    if how == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class ChaosOperation(_Mortal, RunOperationOperator):
    """``RunOperationOperator`` that dies on demand."""

    def execute(self, context: Any) -> Any:
        self._prepare(context)
        if self._try > 1:
            self._phase("retrying")
        result = super().execute(context)
        self._phase("delivered")
        return result

    def execute_complete(self, context: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self._prepare(context)
        self._phase("resuming")
        result = super().execute_complete(context, **kwargs)
        self._phase("delivered")
        return result

    @property
    def hook(self) -> WorkerClient:
        hook = super().hook
        if "chaos" not in vars(hook):
            vars(hook)["chaos"] = True
            start, watch = hook.start_operation, hook.watch

            def mortal_start(*args: Any, **kwargs: Any) -> Any:
                self._phase("before_request")
                self._phase_in("unanswered", 2.0)
                operation = start(*args, **kwargs)
                self._phase("answered")
                return operation

            def mortal_watch(*args: Any, **kwargs: Any) -> Any:
                self._phase("stored")
                self._waits()
                self._phase_in("waiting", 3.0)
                return watch(*args, **kwargs)

            hook.start_operation = mortal_start  # type: ignore[method-assign]
            hook.watch = mortal_watch  # type: ignore[method-assign]
        return hook

    def _defer_for(self, watch: Any) -> None:
        self._phase("stored")
        super()._defer_for(watch)


class ChaosSensor(_Mortal, OperationSensor):
    """``OperationSensor`` that dies on demand."""

    def execute(self, context: Any) -> Any:
        self._prepare(context)
        if self._try > 1:
            self._phase("retrying")
        self._phase_in("waiting", 3.0)
        return super().execute(context)

    def execute_complete(self, context: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self._prepare(context)
        self._phase("resuming")
        return super().execute_complete(context, **kwargs)

    def _push(self, context: Any, key: str, value: Any) -> None:
        self._waits()
        super()._push(context, key, value)


LIMITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "timeout": {"timeout": SECONDS},
    "execution_timeout": {"execution_timeout": timedelta(seconds=SECONDS)},
    "dagrun_timeout": {},
    "noretry": {"retries": 0},
    "slowretry": {"retry_delay": timedelta(seconds=60)},
}

UNFORGIVING: dict[str, Any] = {"outage_tolerance": 5, "retries": 5}
TAKEN_OVER: dict[str, dict[str, Any]] = {
    "unforgiving": {**UNFORGIVING, "retry_delay": timedelta(seconds=90)},
    "unforgiving_quick": UNFORGIVING,
    "unforgiving_pool": {**UNFORGIVING, "retry_delay": timedelta(seconds=15), "pool": "slow"},
    "forgiving": {"outage_tolerance": 30},
    "pool": {"pool": "slow"},
}
"""For rounds in which one triggerer takes over from another, deferrable only."""

COMMON: dict[str, Any] = {
    "operations_conn_id": "{{ dag_run.conf['connection'] }}",
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
    "poke_interval": 2,
    "outage_tolerance": 300,
}

IDS: dict[str, dict[str, Any]] = {
    "ids": {"request_id_field": "requestId"},
    "noids": {},
    "forgetful": {"durable": False},
}

OPERATORS = [
    *itertools.product(("deferred", "running"), ("ids", "noids"), LIMITS),
    *itertools.product(("deferred",), IDS, TAKEN_OVER),
]
SENSORS = [
    *itertools.product(("deferred", "running"), ("plain", "timeout", "execution_timeout")),
    *itertools.product(("deferred",), TAKEN_OVER),
]

for mode, ids, limit in OPERATORS:
    with DAG(
        dag_id=f"chaos_{mode}_{ids}_{limit}",
        schedule=None,
        catchup=False,
        render_template_as_native_obj=True,
        dagrun_timeout=timedelta(seconds=45) if limit == "dagrun_timeout" else None,
    ) as dag:
        ChaosOperation(
            task_id="run",
            path="rounds/{{ dag_run.conf['round'] }}/things:run",
            json={"operation": "{{ dag_run.conf['script'] }}"},
            deferrable=mode == "deferred",
            **COMMON | IDS[ids] | (LIMITS | TAKEN_OVER)[limit],
        )
    globals()[dag.dag_id] = dag

for mode, limit in SENSORS:
    with DAG(
        dag_id=f"chaos_{mode}_sensor_{limit}",
        schedule=None,
        catchup=False,
        render_template_as_native_obj=True,
    ) as dag:
        ChaosSensor(
            task_id="run",
            operation_name="{{ dag_run.conf['operation'] }}",
            deferrable=mode == "deferred",
            cancel_on_kill=True,
            cancel_on_timeout=True,
            **COMMON | (LIMITS | TAKEN_OVER)[limit],
        )
    globals()[dag.dag_id] = dag
