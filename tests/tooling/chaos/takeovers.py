"""
Faults of shared parts while the server is out too, or Airflow is slow: one triggerer takes over from another, the API
server is away while starts are answered, a pool has no slot for what was cleared.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from .acts import DAY, LATER, after, dag, server_fault, when
from .cluster import TRIGGERER_THRESHOLD_S, TRIGGERERS
from .faults import SLOW_START, Shared, note, triggerers_started
from .rounds import Expect, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .rounds import World

    Steps = Iterator[Callable[[], bool]]

__all__ = ["takeovers"]

HOLDER, OTHER = TRIGGERERS
ASKING_S = 45
"""How long the first question may take that a triggerer asks Airflow, on a busy machine."""

FAILED = Expect(("failed",), touched=True, settle_s=120)


def takeovers() -> list[Shared]:
    """Return the combinations."""
    return [
        Shared(("triggerer comes back after its try has ended in an outage",), (_comes_back,), _ended_tries),
        Shared(("triggerer stopped while the server is out",), (_stopped_in_outage,), _borne),
        Shared(("stale outage",), (_stale_outage,), _stale),
        Shared(("triggerer killed while the server is out",), (_killed_in_outage,), _killed),
        Shared(("connection deleted while a triggerer takes over",), (_connection_deleted,), _on_lines),
        Shared(("API server killed while starts are answered",), (_api_server,), _unanswered, _all_sent),
        Shared(("clear while the pool is full",), (_full_pool,), _pooled),
    ]


# --- steps that are shared ---------------------------------------------------------------------------------


def _until(condition: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """Return the condition that something is so, or that it takes too long."""
    end = after(seconds)
    return lambda: condition() or end()


def _owned_by(world: World, rounds: list[Round], name: str) -> bool:
    """Tell whether every trigger of these rounds is a triggerer's."""
    tis = [world.ti(one) for one in rounds if not world.over(one)]
    return all(ti is not None and ti.state == "deferred" and world.cluster.owner(ti) == name for ti in tis)


def _gathered(world: World, rounds: list[Round]) -> Steps:
    """Bring all triggers to one triggerer, and the other one back, idle."""
    world.cluster.kill(OTHER)
    yield _until(lambda: _owned_by(world, rounds, HOLDER), 60)
    yield from triggerers_started(world, OTHER)
    yield _until(lambda: all(world.deferred(one, 3.0) for one in rounds), 20)


def _taken_over(world: World, rounds: list[Round]) -> Steps:
    """Stop the holder, and wait until the other one has all."""
    world.cluster.stop(HOLDER)
    note(rounds, f"{HOLDER} stopped")
    yield _until(lambda: _owned_by(world, rounds, OTHER), TRIGGERER_THRESHOLD_S + 50)
    note(rounds, f"{OTHER} took over")


def _back(world: World, rounds: list[Round]) -> None:
    world.cluster.go_on(HOLDER)
    note(rounds, f"{HOLDER} continued")


def _out(world: World, rounds: list[Round], seconds: float, **fault: object) -> None:
    for one in rounds:
        server_fault(world, one, for_=seconds, **fault)


def _limit(one: Round) -> str:
    return one.dag_id.split("_", 3)[3]


# --- a triggerer comes back --------------------------------------------------------------------------------


def _ended_tries() -> list[Round]:
    """The try has ended in the outage, and the task waits, is scheduled or runs again: none of it is a kill."""
    long = {"duration": 180}
    waiting = [dag("deferred", kind, "unforgiving") for kind in ("ids", "ids", "ids", "noids", "sensor")]
    running = [dag("deferred", kind, "unforgiving_quick") for kind in ("ids", "noids", "sensor")]
    scheduled = [dag("deferred", kind, "unforgiving_pool") for kind in ("ids", "sensor")]
    own = Expect(starts=(2, 2), touched=True)
    return [
        *(Round((), one, Expect(), dict(long)) for one in (*waiting, *scheduled)),
        *(Round((), one, Expect(), dict(long), linger={"retrying": 80}) for one in running),
        Round(
            (), dag("deferred", "forgetful", "unforgiving"), own, {**long, "duration": 150, "cancelDelay": 1}
        ),
        # Over before the holder comes back: a finished operation is neither cancelled nor called killed.
        *(
            Round((), dag("deferred", kind), Expect(), {"duration": 75})
            for kind in ("ids", "noids", "sensor")
        ),
    ]


def _comes_back(world: World, rounds: list[Round]) -> Steps:
    yield from _gathered(world, rounds)
    yield from _taken_over(world, rounds)
    meant = [one for one in rounds if "unforgiving" in one.dag_id]
    pooled = [one for one in meant if _limit(one) == "unforgiving_pool"]
    _out(world, meant, 16, drop=True)
    yield after(16)
    yield _until(lambda: all(world.in_state(one, "up_for_retry") for one in pooled), 30)
    world.cluster.open_pool(is_open=False)
    yield _until(lambda: all(_is_between(world, one) for one in meant), 40)
    for one in meant:
        ti = world.ti(one)
        one.act(f"state {ti.state if ti else 'gone'}")
    yield _until(lambda: all(world.over(one) for one in rounds if one not in meant), 60)
    # So that the holder is told to let go while it asks, and doesn't see the end itself.
    _out(world, [one for one in rounds if one not in meant], 60, kind="get", delay=6)
    _back(world, rounds)
    yield after(ASKING_S)
    world.cluster.open_pool(is_open=True)


def _is_between(world: World, one: Round) -> bool:
    """Tell whether a task is where the holder should find it."""
    if one.linger:
        return world.marked(one, "linger-retrying")
    return world.in_state(one, "scheduled" if _limit(one) == "unforgiving_pool" else "up_for_retry")


def _borne() -> list[Round]:
    """The outage is borne; a task is marked meanwhile at the triggerer that has taken over."""
    patient = replace(FAILED, asked=True, settle_s=240)
    return [
        *(
            Round((), dag("deferred", kind), Expect(tries=1), {"duration": 120})
            for kind in ("ids", "noids", "sensor")
        ),
        *(
            Round(("mark-failed: taken over, server out",), dag("deferred", kind), patient, dict(DAY))
            for kind in ("ids", "sensor")
        ),
    ]


def _stopped_in_outage(world: World, rounds: list[Round]) -> Steps:
    yield from _gathered(world, rounds)
    _out(world, rounds, 60, status=503)
    yield after(3)
    yield from _taken_over(world, rounds)
    yield after(4)
    yield from _marked(world, rounds)
    yield after(6)
    _back(world, rounds)
    yield after(20)


def _marked(world: World, rounds: list[Round]) -> Steps:
    for one in rounds:
        if any(kind.startswith("mark-failed") for kind in one.kinds):
            yield from when("deferred", "failed")(world, one)


def _stale() -> list[Round]:
    """An outage counts only while somebody asks: the one who slept through its end may not end the wait."""
    # Where the server is a black hole, the holder surely stops in the middle of a request.
    kinds = [*itertools.product(("ids", "noids", "sensor"), (False, True)), ("ids", False), ("ids", True)]
    return [
        Round((), dag("deferred", kind, "forgiving"), Expect(tries=1), {"duration": 130}, own_line=black_hole)
        for kind, black_hole in kinds
    ]


def _stale_outage(world: World, rounds: list[Round]) -> Steps:
    yield from _gathered(world, rounds)
    _out(world, [one for one in rounds if one.line is None], 20, status=503, delay=3)
    for kind, seconds in (("drop", 5), ("black hole", 15)):
        for one in rounds:
            if one.line is not None:
                one.line.trouble(kind, seconds)
                one.act(f"way to the server: {kind} for {seconds} s")
        yield after(5)
    stopped = time.monotonic()
    yield from _taken_over(world, rounds)
    yield after(5)
    yield lambda: time.monotonic() > stopped + 35
    _back(world, rounds)
    yield after(20)


# --- a triggerer is killed ---------------------------------------------------------------------------------


def _killed() -> list[Round]:
    return _borne()


def _killed_in_outage(world: World, rounds: list[Round]) -> Steps:
    yield from _gathered(world, rounds)
    _out(world, rounds, 60, status=503)
    yield after(3)
    world.cluster.kill(HOLDER)
    note(rounds, f"{HOLDER} killed")
    yield _until(lambda: _owned_by(world, rounds, OTHER), TRIGGERER_THRESHOLD_S + 50)
    yield after(4)
    yield from _marked(world, rounds)
    yield from triggerers_started(world, HOLDER)


def _on_lines() -> list[Round]:
    """A connection that is gone for a while is an outage like any other."""
    return [
        Round((), dag("deferred", kind), Expect(tries=1), {"duration": 160}, own_line=True)
        for kind in ("ids", "noids", "sensor", "ids")
    ]


def _connection_deleted(world: World, rounds: list[Round]) -> Steps:
    yield from _gathered(world, rounds)
    for one in rounds:
        world.cluster.delete_connection(one.connection)
        one.act("connection deleted")
    world.cluster.kill(HOLDER)
    note(rounds, f"{HOLDER} killed")
    yield _until(lambda: _owned_by(world, rounds, OTHER), TRIGGERER_THRESHOLD_S + 50)
    note(rounds, f"{OTHER} took over")
    yield after(ASKING_S + 10)
    for one in rounds:
        assert one.line is not None
        world.cluster.add_connection(one.connection, one.line.url)
        one.act("connection is back")
    yield from triggerers_started(world, HOLDER)


# --- the API server ----------------------------------------------------------------------------------------


def _unanswered() -> list[Round]:
    """The record can't be stored for as long as the API server takes to come back."""
    # Without request ids the worker holds out, and if Airflow kills it meanwhile, it cancels.
    # Airflow has given that worker up by then, so the next try may come before the operation is over.
    held_out = Expect(starts=(1, 2), touched=True, may_be_ending=True)
    return [
        Round((), dag(mode, ids), expect, {"duration": 90}, server=[dict(fault) for fault in SLOW_START])
        for mode in ("deferred", "running")
        for ids, expect in (("ids", Expect()), ("ids", Expect()), ("noids", held_out))
    ]


def _all_sent(world: World, rounds: list[Round]) -> Callable[[], bool]:
    return _until(lambda: all(world.unanswered(one) for one in rounds), 60)


def _api_server(world: World, rounds: list[Round]) -> Steps:
    world.cluster.kill("api-server")
    note(rounds, "API server killed")
    yield after(3)
    world.cluster.start("api-server")
    yield _until(world.cluster.answers, 120)
    note(rounds, "API server answers")


# --- a full pool -------------------------------------------------------------------------------------------


def _pooled() -> list[Round]:
    """A cleared task waits for a slot: its operation ends when it starts anew, or when it is marked after all."""
    restarted = Expect(starts=(2, 2), touched=True)
    later = {**LATER, "duration": 120}
    return [
        *(
            Round(("clear",), dag("deferred", ids, "pool"), restarted, dict(later))
            for ids in ("ids", "noids")
        ),
        Round(("clear", "server 503"), dag("deferred", "ids", "pool"), restarted, dict(later)),
        Round(("clear",), dag("deferred", "forgetful", "pool"), restarted, dict(later)),
        *(
            Round(("clear", "mark-failed: scheduled"), dag("deferred", ids, "pool"), FAILED, dict(DAY))
            for ids in ("ids", "ids", "noids")
        ),
    ]


def _full_pool(world: World, rounds: list[Round]) -> Steps:
    yield _until(lambda: all(world.deferred(one) for one in rounds), 60)
    world.cluster.open_pool(is_open=False)
    _out(world, [one for one in rounds if "server 503" in one.kinds], 15, status=503)
    for one in rounds:
        ti = world.ti(one)
        assert ti is not None
        one.max_tries = ti.max_tries
        world.cluster.clear(ti)
        one.act(f"clear while {ti.state}")
    yield after(20)
    for one in rounds:
        ti = world.ti(one)
        assert ti is not None
        one.act(f"state {ti.state}")
        if "mark-failed: scheduled" in one.kinds:
            world.cluster.mark(ti, "failed")
            one.act("marked failed")
    yield after(20)
    world.cluster.open_pool(is_open=True)
