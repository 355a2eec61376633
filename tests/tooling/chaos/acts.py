"""What happens to a task from outside: a user acts on it, or the server and the way to it go wrong."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .cluster import TRIGGERERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .rounds import Round, World

    Steps = Callable[[World, Round], Iterator[Callable[[], bool]]]

__all__ = ["DAY", "LATER", "after", "dag", "outage", "server_fault", "trouble", "when"]

DAY = {"duration": 24 * 3600, "cancelDelay": 1}
"""Goes on until somebody cancels it: an orphan shows."""

LATER = {"duration": 50, "cancelDelay": 1}
"""Long enough to be cancelled, short enough for the operation that follows to succeed."""


def dag(mode: str, kind: str = "ids", limit: str = "plain") -> str:
    """Return the name of a DAG in ``dags/chaos.py``."""
    return f"chaos_{mode}_{kind}_{limit}"


def when(moment: str, action: str) -> Steps:
    """
    Act as a user at a moment.

    :param moment: ``running``, ``deferred``, ``just deferred``, ``unanswered``, ``up_for_retry``,
        ``its triggerer is dead``, ``no triggerer lives``, ``api fault`` (a call of the task's has met one) or the
        name of a place where the task lingers.
    :param action: ``failed``, ``success``, ``clear``, ``delete``, ``failed twice``.
    """

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield lambda: _reached(world, one, moment)
        ti = world.ti(one)
        assert ti is not None
        one.act(f"{action} while {moment} (state {ti.state})")
        one.acted += 1
        if action == "clear":
            one.max_tries = ti.max_tries
            world.cluster.clear(ti)
        elif action == "delete":
            world.cluster.delete_run(ti)
        else:
            worker = world.cluster.worker(ti)
            world.cluster.mark(ti, action.split(maxsplit=1)[0])
            if action.endswith("twice"):
                yield after(0.5)
                with suppress(Exception):  # the worker may be gone by now
                    if worker is not None:
                        worker.terminate()
                    world.cluster.mark(ti, "failed")
                one.act("killed again")

    return steps


def _reached(world: World, one: Round, moment: str) -> bool:
    if not all(world.marked(one, f"die-{phase}") for phase in one.die):
        return False
    if moment == "running":
        return world.running(one)
    if moment == "deferred":
        return world.deferred(one)
    if moment == "just deferred":
        return world.in_state(one, "deferred")
    if moment == "its triggerer is dead":
        ti = world.ti(one)
        owner = world.cluster.owner(ti) if ti is not None and ti.state == "deferred" else None
        return owner is not None and set(world.cluster.living()) == set(TRIGGERERS) - {owner}
    if moment == "no triggerer lives":
        return world.in_state(one, "deferred") and not world.cluster.living()
    if moment == "api fault":
        return any(fault.fired for fault in one.api)
    if moment == "unanswered":
        return world.unanswered(one)
    if moment == "up_for_retry":
        return world.in_state(one, "up_for_retry")
    return world.marked(one, f"linger-{moment}")


def after(seconds: float) -> Callable[[], bool]:
    """Return the condition that some time has passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def outage(seconds: float, **fault: Any) -> Steps:
    """Let the server go wrong for this round once the operation is waited for."""

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield lambda: world.deferred(one, 1.0) or world.running(one)
        server_fault(world, one, for_=seconds, **fault)
        one.acted += 1

    return steps


def server_fault(world: World, one: Round, **fault: Any) -> None:
    """Let the server go wrong for this round from now on."""
    fault_id = world.cluster.emulator.script_fault(operation=f"rounds/{one.id}/", **fault)
    one.server_faults.append(fault_id)
    one.act(f"server fault {fault_id}: {fault}")


def trouble(seconds: float, kind: str) -> Steps:
    """Let the way to the server go wrong for this round, see ``Line``, once the operation is waited for."""

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield lambda: world.deferred(one, 1.0) or world.running(one)
        assert one.line is not None
        one.line.trouble(kind, seconds)
        one.acted += 1
        one.act(f"way to the server: {kind} for {seconds:g} s")

    return steps
