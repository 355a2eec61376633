"""What can go wrong, each at one moment: functions of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .airflow import EVICTED_AFTER_S, SCHEDULER_ROUND_S
from .server import ODD
from .triggerer import ROUND_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .airflow import Airflow
    from .triggerer import Triggerer
    from .world import World

__all__ = ["FAULTS", "USERS", "concerning"]

HEARTBEATS_FAIL_S = 29.0
NO_TRIGGERER_S = 180.0
"""Longer than a task's time and what Airflow adds to it for a trigger that is dead."""


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
        world.judge.server_was_away(seconds, looks_final=trouble in {*ODD, "no polls"})

        def back() -> None:
            world.server.trouble = None

        world.kernel.at(seconds, back)

    return fault


def _slow(by_s: float) -> Callable[[World], None]:
    def fault(world: World) -> None:
        world.server.slow_s = by_s
        world.judge.server_was_away()
        world.kernel.at(20, lambda: setattr(world.server, "slow_s", 0.0))

    return fault


def _slow_api(world: World) -> None:
    world.airflow.slow_s = 2.0
    world.judge.api_is_slow()
    world.kernel.at(20, lambda: setattr(world.airflow, "slow_s", 0.0))


def _slow_triggerers(world: World) -> None:
    world.round_s = 25.0
    world.judge.triggerers_are_late()
    world.kernel.at(60, lambda: setattr(world, "round_s", ROUND_S))


def _slow_scheduler(world: World) -> None:
    world.airflow.round_s = 10.0
    world.kernel.at(60, lambda: setattr(world.airflow, "round_s", SCHEDULER_ROUND_S))


def _lose_next_worker(world: World) -> None:
    world.airflow.loses_next_worker = True


def _fail_upstream(world: World) -> None:
    world.airflow.upstream_has_failed = True


def _unknown_at_first(world: World) -> None:
    world.server.unknown_for_s = 3.0


def _forget(world: World) -> None:
    if world.server.operations:
        world.judge.forgotten()
        world.server.forget()


def _skew(kind: str, by_s: float) -> Callable[[World], None]:
    def fault(world: World) -> None:
        world.skews[kind] = by_s
        if by_s > 0:
            world.judge.clock_is_set()

    return fault


def _lose_answer(world: World) -> None:
    world.server.loses_next_answer = True
    world.judge.answer_was_lost()
    world.judge.server_was_away()


def _lose_answer_in_gateway(world: World) -> None:
    _lose_answer(world)
    world.server.lost_in_gateway = True


def _lose_connection(world: World) -> None:
    world.connection_is_gone = True
    world.judge.server_was_away(20)
    world.kernel.at(20, lambda: setattr(world, "connection_is_gone", False))


def _store_away(world: World) -> None:
    world.airflow.store_away = True
    world.judge.store_was_away()
    world.kernel.at(90, lambda: setattr(world.airflow, "store_away", False))


def _hide_record(world: World) -> None:
    world.airflow.hides_store = True
    world.kernel.at(8, lambda: setattr(world.airflow, "hides_store", False))


def _silence_for_triggers(world: World) -> None:
    world.airflow.triggers_are_unanswered = True
    world.kernel.at(40, lambda: setattr(world.airflow, "triggers_are_unanswered", False))


def _holder(world: World) -> Triggerer:
    """Return the triggerer that holds the task's trigger, or was the last to hold one, or one."""
    held = world.airflow.trigger
    alive = [one for one in world.triggerers if not one.process.dead]
    known = [held.holder if held is not None else None, world.last_holder]
    return next((one for one in known if one in alive), [*alive, world.triggerers[-1]][0])


def _kill_triggerer(world: World) -> None:
    world.judge.process_was_lost()
    world.restart_triggerer(_holder(world))


def _lose_triggerers(world: World) -> None:
    world.judge.process_was_lost()
    world.restart_triggerers(NO_TRIGGERER_S)


def _freeze_triggerer(world: World) -> None:
    world.judge.stopped = True
    _holder(world).freeze(world.kernel.random.uniform(32, 90))
    world.judge.triggerers_are_late()


def _stall_triggerer(world: World) -> None:
    _holder(world).stall(10)
    world.judge.triggerers_are_late()


def _end_triggerer(world: World) -> None:
    ending = _holder(world)
    world.judge.triggerer_ends(ending)
    world.end_triggerer(ending)


def _kill_sweep(world: World) -> None:
    if world.sweeper is not None and world.sweeper.last is not None:
        world.kernel.kill(world.sweeper.last)


def _airflow(world: World) -> Airflow:
    return world.airflow


def _heard_at_once(act: Callable[[World], None]) -> Callable[[World], None]:
    """Let a worker's heartbeat come just after what a user does, so that it is told to end in the midst of a call."""

    def fault(world: World) -> None:
        worker = _airflow(world).worker
        act(world)
        if worker is not None:
            worker.beat()

    return fault


def _mark(state: str) -> Callable[[World], None]:
    return lambda world: _airflow(world).mark(state)


USERS: dict[str, Callable[[World], None]] = {
    "mark failed": _mark("failed"),
    "mark success": _mark("success"),
    "skip": _mark("skipped"),
    "clear": lambda world: _airflow(world).clear(),
    "mark failed at a heartbeat": _heard_at_once(_mark("failed")),
    "clear at a heartbeat": _heard_at_once(lambda world: _airflow(world).clear()),
    "task vanishes": lambda world: _airflow(world).vanish(),
    "task vanishes for 20 s": lambda world: _airflow(world).vanish(20),
    "delete run": lambda world: _airflow(world).delete_run(),
    "upstream fails": _fail_upstream,
}

_OF_WORKERS: dict[str, Callable[[World], None]] = {
    "kill worker": _kill_worker,
    "lose node": _lose_node,
    "evict worker": _evict,
    "next worker doesn't begin": _lose_next_worker,
    "scheduler is slow for 60 s": _slow_scheduler,
    "reset orphans": lambda world: _airflow(world).reset_orphan(),
    "workers' clocks are set 10 s ahead": _skew("worker", 10),
}

_OF_THE_API: dict[str, Callable[[World], None]] = {
    "API away for 20 s": _api_away(20),
    "API away for 60 s": _api_away(60),
    "task state store away for 90 s": _store_away,
    "record not found for 8 s": _hide_record,
    "API is slow for 20 s": _slow_api,
}

_OF_THE_SERVICE: dict[str, Callable[[World], None]] = {
    "server refuses for 20 s": _server("refused", 20),
    "server says 503 for 8 s": _server("unavailable", 8),
    "server throttles for 20 s": _server("throttles", 20),
    "server swallows for 20 s": _server("hole", 20),
    "server shows a page for 8 s": _server("page", 8),
    "server shows a 404 page for 8 s": _server("missing page", 8),
    "server forbids for 8 s": _server("forbidden", 8),
    "server forbids for 60 s": _server("forbidden", 60),
    "server forbids polls for 60 s": _server("no polls", 60),
    "server refuses cancels for 20 s": _server("no cancel", 20),
    "server cancels nothing yet for 8 s": _server("no cancel yet", 8),
    "server is slow for 20 s": _slow(1.0),
    "server is very slow for 20 s": _slow(6.0),
    "server knows operations after 3 s": _unknown_at_first,
    "server forgets": _forget,
    "answer lost": _lose_answer,
    "answer lost in a gateway": _lose_answer_in_gateway,
}

_OF_TRIGGERERS: dict[str, Callable[[World], None]] = {
    "triggerers' clocks are set 10 s ahead": _skew("triggerer", 10),
    "triggerers' clocks are set 10 s back": _skew("triggerer", -10),
    "connection gone for 20 s": _lose_connection,
    "triggers unanswered for 40 s": _silence_for_triggers,
    "kill triggerer": _kill_triggerer,
    "no triggerer lives for 180 s": _lose_triggerers,
    "freeze triggerer": _freeze_triggerer,
    "triggerer is taken for dead": _stall_triggerer,
    "triggerers are slow for 60 s": _slow_triggerers,
    "end triggerer": _end_triggerer,
}

_OF_SWEEPS: dict[str, Callable[[World], None]] = {"kill sweep": _kill_sweep}

FAULTS = {**USERS, **_OF_WORKERS, **_OF_THE_API, **_OF_THE_SERVICE, **_OF_TRIGGERERS, **_OF_SWEEPS}


def concerning(kind: str) -> list[str]:
    """
    Return the faults of whoever takes part in a point of a schedule: who asks, and what is asked.

    :param kind: as ``coverage.kind_of`` returns it. What changes in Airflow's database concerns everybody.
    """
    actor, _, what = kind.partition(": ")
    faults = {
        "worker": {**USERS, **_OF_WORKERS},
        "triggerer": {**USERS, **_OF_TRIGGERERS},
        "sweep": {**USERS, **_OF_SWEEPS},
    }.get(actor, FAULTS)
    if what.startswith(("GET ", "POST ")):
        faults = {**faults, **_OF_THE_SERVICE}
    elif actor == "worker":
        faults = {**faults, **_OF_THE_API}
    return list(faults)
