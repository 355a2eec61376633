"""What can go wrong, each at one moment: functions of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .airflow import EVICTED_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .airflow import Airflow
    from .triggerer import Triggerer
    from .world import World

__all__ = ["FAULTS", "USERS"]

HEARTBEATS_FAIL_S = 29.0


def _kill_worker(world: World) -> None:
    if worker := world.airflow.worker:
        world.judge.worker_was_lost(told=False)
        world.kernel.kill(worker.process)


def _lose_node(world: World) -> None:
    if worker := world.airflow.worker:
        world.judge.worker_was_lost(told=False)
        worker.lose_node()


def _evict(world: World) -> None:
    if worker := world.airflow.worker:
        world.judge.worker_was_lost(told=True)
        worker.terminate("evicted", kill_after_s=EVICTED_AFTER_S)


def _api_away(seconds: float) -> Callable[[World], None]:
    def fault(world: World) -> None:
        airflow = world.airflow
        airflow.api_away = True
        world.judge.api_was_away()

        def back() -> None:
            airflow.api_away = False

        def heartbeats_have_failed() -> None:
            if airflow.api_away and (worker := airflow.worker):
                worker.terminate("no heartbeat gets through")

        world.kernel.at(seconds, back)
        world.kernel.at(HEARTBEATS_FAIL_S, heartbeats_have_failed)

    return fault


def _server(trouble: str, seconds: float) -> Callable[[World], None]:
    def fault(world: World) -> None:
        world.server.trouble = trouble
        world.judge.server_was_away(seconds)

        def back() -> None:
            world.server.trouble = None

        world.kernel.at(seconds, back)

    return fault


def _slow(world: World) -> None:
    world.server.slow_s = 1.0
    world.judge.server_was_away()
    world.kernel.at(20, lambda: setattr(world.server, "slow_s", 0.0))


def _unknown_at_first(world: World) -> None:
    world.server.unknown_for_s = 3.0


def _forget(world: World) -> None:
    if world.server.running():
        world.judge.forgotten()
        world.server.forget()


def _skew(kind: str, by_s: float) -> Callable[[World], None]:
    def fault(world: World) -> None:
        world.skews[kind] = by_s

    return fault


def _lose_answer(world: World) -> None:
    world.server.loses_next_answer = True
    world.judge.answer_was_lost()
    world.judge.server_was_away()


def _lose_connection(world: World) -> None:
    world.connection_is_gone = True
    world.judge.server_was_away(20)
    world.kernel.at(20, lambda: setattr(world, "connection_is_gone", False))


def _hide_record(world: World) -> None:
    world.airflow.hides_store = True
    world.kernel.at(8, lambda: setattr(world.airflow, "hides_store", False))


def _silence_for_triggers(world: World) -> None:
    world.airflow.triggers_are_unanswered = True
    world.kernel.at(40, lambda: setattr(world.airflow, "triggers_are_unanswered", False))


def _holder(world: World) -> Triggerer:
    """Return the triggerer that holds the task's trigger, or one."""
    held = world.airflow.trigger
    alive = [one for one in world.triggerers if not one.process.dead]
    return held.holder if held is not None and held.holder in alive else alive[0]


def _kill_triggerer(world: World) -> None:
    world.judge.process_was_lost()
    world.restart_triggerer(_holder(world))


def _freeze_triggerer(world: World) -> None:
    world.judge.stopped = True
    _holder(world).freeze(world.kernel.random.uniform(32, 90))


def _end_triggerer(world: World) -> None:
    world.judge.triggerer_ends()
    world.end_triggerer(_holder(world))


def _airflow(world: World) -> Airflow:
    return world.airflow


USERS: dict[str, Callable[[World], None]] = {
    "mark failed": lambda world: _airflow(world).mark("failed"),
    "mark success": lambda world: _airflow(world).mark("success"),
    "skip": lambda world: _airflow(world).mark("skipped"),
    "clear": lambda world: _airflow(world).clear(),
    "task vanishes": lambda world: _airflow(world).vanish(),
    "task vanishes for 20 s": lambda world: _airflow(world).vanish(20),
}

FAULTS: dict[str, Callable[[World], None]] = {
    **USERS,
    "kill worker": _kill_worker,
    "lose node": _lose_node,
    "evict worker": _evict,
    "reset orphans": lambda world: _airflow(world).reset_orphan(),
    "API away for 20 s": _api_away(20),
    "API away for 60 s": _api_away(60),
    "server refuses for 20 s": _server("refused", 20),
    "server says 503 for 8 s": _server("unavailable", 8),
    "server swallows for 20 s": _server("hole", 20),
    "server shows a page for 8 s": _server("page", 8),
    "server shows a 404 page for 8 s": _server("missing page", 8),
    "server forbids for 8 s": _server("forbidden", 8),
    "server refuses cancels for 20 s": _server("no cancel", 20),
    "server is slow for 20 s": _slow,
    "server knows operations after 3 s": _unknown_at_first,
    "server forgets": _forget,
    "workers' clocks are set 10 s ahead": _skew("worker", 10),
    "triggerers' clocks are set 10 s ahead": _skew("triggerer", 10),
    "triggerers' clocks are set 10 s back": _skew("triggerer", -10),
    "answer lost": _lose_answer,
    "connection gone for 20 s": _lose_connection,
    "record not found for 8 s": _hide_record,
    "triggers unanswered for 40 s": _silence_for_triggers,
    "kill triggerer": _kill_triggerer,
    "freeze triggerer": _freeze_triggerer,
    "end triggerer": _end_triggerer,
}
