"""CeleryExecutor, two workers, two triggerers, PostgreSQL: nothing rests on one machine's memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.executors.clusters import WORKERS, CeleryCluster
from tests.tooling.chaos.cluster import TRIGGERERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tooling.chaos.cluster import Ti

pytestmark = pytest.mark.celery

DEFERRED, RUNNING = "chaos_deferred_ids_plain", "chaos_running_ids_plain"
SENSOR, POKING = "chaos_deferred_sensor_plain", "chaos_running_sensor_plain"
LEAVING, RESCHEDULED = "sensor_deferred", "sensor_rescheduled"
SENSORS = {SENSOR, POKING, LEAVING, RESCHEDULED}
"""The chaos suite's own two cancel when killed, the others leave the operation alone."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[CeleryCluster]:
    """The one for all tests."""
    pytest.importorskip("airflow.providers.celery")
    cluster = CeleryCluster()
    with cluster:
        yield cluster


def begin(cluster: CeleryCluster, dag_id: str, run_id: str, duration: float) -> None:
    """Start a run whose operation lasts so long; a sensor's is started before."""
    script = {"duration": duration, "response": {"round": run_id}, "cancelDelay": 1}
    conf = {"round": run_id, "script": script}
    if dag_id in SENSORS:
        conf["operation"] = cluster.start_operation(run_id, script)
    cluster.trigger(dag_id, run_id, conf)


@contextmanager
def held(cluster: CeleryCluster, runs: str) -> Iterator[None]:
    """Let the server say that operations of runs whose ids begin so aren't over, however slow the machine is."""
    cluster.emulator.script_fault(kind="get", operation=f"rounds/{runs}", body={"done": False})
    try:
        yield
    finally:
        cluster.emulator.clear_faults()


@contextmanager
def stopped(cluster: CeleryCluster, *names: str) -> Iterator[None]:
    """Let parts stand still."""
    for name in names:
        cluster.stop(name)
    try:
        yield
    finally:
        for name in names:
            cluster.go_on(name)


def state(cluster: CeleryCluster, run_id: str, *states: str, timeout_s: float = 90) -> Ti:
    """Wait until a run's task has one of these states."""

    def reached() -> Ti | None:
        ti = cluster.tis().get(run_id)
        return ti if ti is not None and ti.state in states else None

    found: Ti = cluster.until(reached, f"{run_id} is {' or '.join(states)}", timeout_s)
    return found


def watched(cluster: CeleryCluster, run_id: str, *states: str) -> Ti:
    """Wait until a run's task waits in one of these states; a deferrable sensor's second look is the triggerer's."""
    cluster.until(lambda: len(requests(cluster, "get", run_id)) > 1, f"{run_id} is watched", 120)
    return state(cluster, run_id, *states)


def host(cluster: CeleryCluster, run_id: str) -> str:
    """Return the worker that runs a task now, or did last."""
    with cluster.engine.connect() as connection:
        query = text("SELECT hostname FROM task_instance WHERE run_id = :id")
        return str(connection.execute(query, {"id": run_id}).scalar())


def requests(cluster: CeleryCluster, kind: str, run_id: str) -> list[dict[str, Any]]:
    """Return the requests of a kind that concern a run's operations."""
    return [entry for entry in cluster.emulator.journal(kind) if f"rounds/{run_id}/" in entry["path"]]


def operations(cluster: CeleryCluster, run_id: str) -> list[dict[str, Any]]:
    """Return a run's operations."""
    return [one for one in cluster.emulator.operations() if one["name"].startswith(f"rounds/{run_id}/")]


def cancelled(operation: dict[str, Any]) -> bool:
    """Tell whether an operation was cancelled."""
    return bool(operation["done"] and operation.get("error", {}).get("code") == 1)


def until_cancelled(cluster: CeleryCluster, run_id: str) -> None:
    """Wait until a run's one operation is over, cancelled."""
    cluster.until(lambda: all(map(cancelled, operations(cluster, run_id))), f"{run_id} is cancelled", 60)
    assert len(operations(cluster, run_id)) == 1


def test_success_on_whichever_worker(cluster: CeleryCluster) -> None:
    """Operators and sensors wait and succeed, started and resumed on any worker, each operation started once."""
    runs = [f"ok-{number}" for number in range(6)]
    sensors = {"wait-deferred": SENSOR, "wait-poking": POKING, "wait-rescheduled": RESCHEDULED}
    held_as = {SENSOR: "deferred", POKING: "running", RESCHEDULED: "up_for_reschedule"}
    with held(cluster, "wait-"):
        for run_id, dag_id in sensors.items():
            begin(cluster, dag_id, run_id, 0)
        for run_id in runs:
            begin(cluster, DEFERRED, run_id, 4)
        for run_id, dag_id in sensors.items():
            watched(cluster, run_id, held_as[dag_id])
    # Not beside the poking one: they could fill a worker, and the other one would have all the rest.
    begin(cluster, RUNNING, "ok-running", 4)
    for run_id in (*runs, "ok-running", *sensors):
        assert state(cluster, run_id, "success", "failed", timeout_s=180).state == "success"
        assert len(operations(cluster, run_id)) == 1
    assert {host(cluster, run_id) for run_id in runs} == set(WORKERS)


@pytest.mark.parametrize(
    ("held_as", "dag_ids"), [("running", (RUNNING, POKING)), ("deferred", (DEFERRED, SENSOR))]
)
def test_killed(cluster: CeleryCluster, held_as: str, dag_ids: tuple[str, ...]) -> None:
    """An operator and a sensor that hold workers, or are deferred, are marked failed: both operations are cancelled."""
    for dag_id in dag_ids:
        begin(cluster, dag_id, f"kill-{dag_id}", 600)
    tis = [watched(cluster, f"kill-{dag_id}", held_as) for dag_id in dag_ids]

    for ti in tis:
        cluster.mark(ti, "failed")

    for ti in tis:
        until_cancelled(cluster, ti.run_id)


def test_cleared_while_deferred(cluster: CeleryCluster) -> None:
    """A cleared task cancels its operation and starts another, on whichever worker."""
    begin(cluster, DEFERRED, "clear", 30)
    ti = state(cluster, "clear", "deferred")
    cluster.until(lambda: requests(cluster, "get", "clear"), "it is watched", 60)

    cluster.clear(ti)

    cluster.until(lambda: len(operations(cluster, "clear")) == 2, "another is started", 120)
    assert state(cluster, "clear", "success", "failed", timeout_s=120).state == "success"
    first, second = operations(cluster, "clear")
    assert cancelled(first)
    assert second["response"] == {"round": "clear"}
    assert {entry["operation"] for entry in requests(cluster, "cancel", "clear")} == {first["name"]}


def test_a_sensor_is_cleared_while_deferred(cluster: CeleryCluster) -> None:
    """
    One that is to cancel does, and its new try finds the operation cancelled; another one goes on waiting.

    The new tries are held back until then. One that is deferred again before the triggerer has asked what became of
    the task looks to it as if nobody had touched the task: then nothing is cancelled.
    """
    begin(cluster, SENSOR, "clear-cancelling", 600)
    with held(cluster, "clear-leaving"):
        begin(cluster, LEAVING, "clear-leaving", 0)
        tis = [watched(cluster, run_id, "deferred") for run_id in ("clear-cancelling", "clear-leaving")]

        with stopped(cluster, *WORKERS):
            for ti in tis:
                cluster.clear(ti)
            until_cancelled(cluster, "clear-cancelling")

        cluster.until(lambda: cluster.tis()["clear-leaving"].try_number == 2, "it is tried again", 60)
        state(cluster, "clear-leaving", "deferred")
    assert state(cluster, "clear-cancelling", "success", "failed").state == "failed"
    error, _ = cluster.failure(SENSOR, "clear-cancelling", "run") or ("", "")
    assert error.endswith("OperationCancelledFinal")
    assert state(cluster, "clear-leaving", "success", "failed").state == "success"
    assert not requests(cluster, "cancel", "clear-leaving")


def test_a_triggerer_dies(cluster: CeleryCluster) -> None:
    """The other triggerer takes its operations over: nothing is cancelled, nothing started again."""
    runs = {f"failover-{number}": dag_id for number, dag_id in enumerate([DEFERRED] * 4 + [SENSOR, LEAVING])}
    victim, heir = TRIGGERERS
    cluster.kill(heir)
    with held(cluster, "failover-"):
        for run_id, dag_id in runs.items():
            begin(cluster, dag_id, run_id, 2)
        for run_id in runs:
            watched(cluster, run_id, "deferred")
        cluster.until(lambda: cluster.owned(victim) == len(runs), f"{victim} has all", 60)
        cluster.start(heir)
        cluster.until(lambda: cluster.is_up(heir), f"{heir} is up", 60)

        cluster.kill(victim)

        cluster.until(lambda: cluster.owned(heir) == len(runs), f"{heir} has all", 60)
    for run_id in runs:
        assert state(cluster, run_id, "success", "failed", timeout_s=180).state == "success"
        assert len(operations(cluster, run_id)) == 1
        assert not requests(cluster, "cancel", run_id)
    cluster.start(victim)
    cluster.until(lambda: cluster.is_up(victim), f"{victim} is back", 60)
    assert set(cluster.living()) == set(TRIGGERERS)


def test_a_worker_dies(cluster: CeleryCluster) -> None:
    """The task of a lost worker is retried on the other one, which takes the operation over."""
    begin(cluster, RUNNING, "lost", 60)
    state(cluster, "lost", "running")
    cluster.until(lambda: requests(cluster, "get", "lost"), "it is watched", 60)
    victim = host(cluster, "lost")

    cluster.kill(victim)

    assert state(cluster, "lost", "success", "failed", timeout_s=240).state == "success"
    assert host(cluster, "lost") in set(WORKERS) - {victim}
    assert len(operations(cluster, "lost")) == 1
    assert not requests(cluster, "cancel", "lost")
    cluster.start(victim)
