"""CeleryExecutor, two workers, two triggerers, PostgreSQL: nothing rests on one machine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.chaos.cluster import TRIGGERERS
from tests.executors.clusters import WORKERS, CeleryCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.cluster import Ti

pytestmark = pytest.mark.celery

DEFERRED, RUNNING, SENSOR = (
    "chaos_deferred_ids_plain",
    "chaos_running_ids_plain",
    "chaos_deferred_sensor_plain",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[CeleryCluster]:
    """The one for all tests."""
    pytest.importorskip("airflow.providers.celery")
    cluster = CeleryCluster()
    with cluster:
        yield cluster


def begin(cluster: CeleryCluster, dag_id: str, run_id: str, duration: float, **conf: Any) -> None:
    """Start a run whose operation lasts so long."""
    script = {"duration": duration, "response": {"round": run_id}, "cancelDelay": 1}
    cluster.trigger(dag_id, run_id, {"round": run_id, "script": script, **conf})


def state(cluster: CeleryCluster, run_id: str, *states: str, timeout_s: float = 90) -> Ti:
    """Wait until a run's task has one of these states."""

    def reached() -> Ti | None:
        ti = cluster.tis().get(run_id)
        return ti if ti is not None and ti.state in states else None

    found: Ti = cluster.until(reached, f"{run_id} is {' or '.join(states)}", timeout_s)
    return found


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
    """Operators and sensors succeed, started and resumed on any worker, each operation started once."""
    runs = [f"ok-{number}" for number in range(6)]
    for run_id in runs:
        begin(cluster, DEFERRED, run_id, 4)
    begin(cluster, RUNNING, "ok-running", 4)
    for run_id in (*runs, "ok-running"):
        assert state(cluster, run_id, "success", "failed", timeout_s=180).state == "success"
        assert len(operations(cluster, run_id)) == 1
    for run_id in runs[:2]:
        conf = {"operation": operations(cluster, run_id)[0]["name"]}
        begin(cluster, SENSOR, f"sensor-{run_id}", 0, **conf)
        assert state(cluster, f"sensor-{run_id}", "success", "failed").state == "success"
    assert {host(cluster, run_id) for run_id in runs} == set(WORKERS)


@pytest.mark.parametrize(("dag_id", "held_as"), [(RUNNING, "running"), (DEFERRED, "deferred")])
def test_killed(cluster: CeleryCluster, dag_id: str, held_as: str) -> None:
    """A task that holds a worker, or is deferred, is marked failed: its operation is cancelled."""
    run_id = f"kill-{held_as}"
    begin(cluster, dag_id, run_id, 600)
    ti = state(cluster, run_id, held_as)
    cluster.until(lambda: requests(cluster, "get", run_id), "it is watched", 60)

    cluster.mark(ti, "failed")

    until_cancelled(cluster, run_id)


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


def test_a_triggerer_dies(cluster: CeleryCluster) -> None:
    """The other triggerer takes its operations over: nothing is cancelled, nothing started again."""
    runs = [f"failover-{number}" for number in range(4)]
    for run_id in runs:
        begin(cluster, DEFERRED, run_id, 60)
    tis = [state(cluster, run_id, "deferred") for run_id in runs]
    victim = cluster.until(lambda: cluster.owner(cluster.tis()[tis[0].run_id]), "a triggerer has it", 60)

    cluster.kill(victim)

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
