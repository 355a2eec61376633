"""A simulated triggerer: Airflow's own ``TriggerRunner``, on a loop in virtual time, and its supervisor."""

from __future__ import annotations

from collections import deque
from copy import copy
from functools import cache, partial
from inspect import CORO_CREATED, getcoroutinestate
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.serde import deserialize

from .green import Loop
from .kernel import Process

if TYPE_CHECKING:
    from .world import World

__all__ = ["ROUND_S", "STALE_S", "Triggerer"]

END_S = 20.0
"""So long after it was told to end, a triggerer's process is killed (``TriggererJobRunner._execute``)."""

ROUND_S = 1.2
"""So long the supervisor's rounds take, each with one look at the database, on a machine that isn't busy."""

STALE_S = 30.0
"""Another triggerer takes over what one holds that hasn't been heard of for so long."""


class _Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name: str) -> Any:
        async def asynchronously(*_: Any, **__: Any) -> None: ...

        return asynchronously if name.startswith("a") else lambda *_, **__: None


@cache
def _first_runner() -> Any:
    return TriggerRunner()


def _runner() -> Any:
    """Return a new ``TriggerRunner``; to make one reads the configuration, which takes long."""
    runner = copy(_first_runner())
    runner.triggers, runner.to_cancel = {}, deque()
    runner.events, runner.failed_triggers = deque(), deque()
    runner.log = _Quiet()
    return runner


def _cancel(task: Any) -> None:
    task.cancel()


class Triggerer:
    """One process; a restarted one is another object."""

    def __init__(self, world: World, number: int) -> None:
        self.process = Process(f"triggerer {number}")
        self.loop = Loop(world.kernel, self.process)
        self._world = world
        self._kernel = world.kernel
        self._runner: Any = _runner()
        self._running: set[int] = set()
        self._cancelling: set[int] = set()
        self._told: set[int] = set()
        """Those that were told to end."""
        self._is_due = False
        self.silent_since: float | None = None
        self._goes_on_s = 0.0
        self._is_stalled = False
        self._is_ending = False

    @property
    def sees_kills(self) -> bool:
        """Whether it reads from the database which of its triggers are gone."""
        return not (self.process.dead or self._is_ending)

    @property
    def is_stale(self) -> bool:
        """Whether the others take it for dead."""
        return self.silent_since is not None and self._kernel.now - self.silent_since >= STALE_S

    @property
    def late_s(self) -> float:
        """How long it still stands still, wholly or in part."""
        return max(self._goes_on_s - self._kernel.now, 0.0)

    def stall(self, for_s: float) -> None:
        """Stop the supervisor for a while, and nothing that runs in it: others don't hear of it, and take it for dead."""
        if self.process.dead or self.process.frozen or self._is_ending or self._is_stalled:
            return
        self._kernel.note(self.process.name, f"sends no heartbeats for {for_s:g} s")
        self._is_stalled, self._goes_on_s = True, self._kernel.now + for_s
        self.silent_since = self._kernel.now - STALE_S
        self._kernel.at(for_s, self._beats_again, self.process)
        self._world.wake_triggerers()

    def _beats_again(self) -> None:
        self._is_stalled = False
        if not (self.process.frozen or self._is_ending):
            self.silent_since = None
        self.wake()

    def freeze(self, for_s: float) -> None:
        """Stop supervisor and runner for a while."""
        if self.process.dead or self.process.frozen:
            return
        self._kernel.note(self.process.name, f"stands still for {for_s:g} s")
        self._goes_on_s = self._kernel.now + for_s
        self._kernel.freeze(self.process)
        self._silent()
        self._kernel.at(for_s, self._thaw)

    def _thaw(self) -> None:
        if self.process.dead:
            return
        self._world.event(self.process.name, "goes on")
        self.silent_since = None
        self._kernel.thaw(self.process)
        self.wake()

    def kill(self) -> None:
        """End it at once."""
        self._kernel.note(self.process.name, "is killed")
        self._kernel.kill(self.process)
        self._silent()

    def end(self) -> None:
        """End it by SIGTERM: ``asyncio.run`` cancels all that runs, without Airflow's message for a kill."""
        if self.process.dead or self.process.frozen or self._is_ending:
            return
        self._kernel.note(self.process.name, "is told to end")
        self._is_ending = True
        self._kernel.at(END_S, lambda: self._kernel.kill(self.process))
        for task in list(self.loop.tasks):
            self._kernel.at(0, partial(_cancel, task), self.process)
        # Its job is marked as over, so nobody waits for heartbeats.
        self.silent_since = self._kernel.now - STALE_S
        self._world.wake_triggerers()

    def _silent(self) -> None:
        self.silent_since = self._kernel.now - self._kernel.random.uniform(0, 5)
        self._kernel.at(STALE_S + self._kernel.random.uniform(0, 1), self._world.wake_triggerers)

    def wake(self) -> None:
        """Look at the database soon."""
        if not self._is_due:
            self._is_due = True
            self._kernel.at(self._kernel.random.uniform(0.1, self._world.round_s), self._look, self.process)

    def _look(self) -> None:
        """Assign triggers, find what is new and what is to be cancelled (``load_triggers``), and hand it over."""
        self._is_due = False
        if self._is_ending or self._is_stalled:
            return
        airflow = self._world.airflow
        for trigger in airflow.triggers:
            # Of a task that isn't deferred any more, too, until a triggerer has cleaned up.
            if trigger.is_referred and (trigger.holder is None or trigger.holder.is_stale):
                self._world.event(self.process.name, f"takes trigger {trigger.id}")
                trigger.holder = self._world.last_holder = self
        own = {trigger.id: trigger for trigger in airflow.triggers if trigger.holder is self}
        # What fires while it is looked for is skipped (``build_trigger_workloads``).
        new = {one for one in own if own[one].is_referred} - self._running - self._cancelling
        self._cancelling |= self._running - own.keys()
        if new or self._cancelling or self._runner.triggers:
            self._running |= new
            task = self.loop.create_task(self._turn([own[one] for one in sorted(new)]))
            task.add_done_callback(lambda _: self.loop.tasks.remove(task))
        if airflow.clean_triggers():  # each triggerer does so in each of its rounds, after it has looked
            self._world.wake_triggerers()
        if self._cancelling:
            self.wake()

    async def _cancel(self, runner: Any) -> None:
        new = (self._cancelling & set(runner.triggers)) - self._told
        self._told |= new
        tasks = [runner.triggers[one]["task"] for one in new]
        if any(task.done() for task in tasks):
            self._world.judge.trigger_had_ended()
        if any(getcoroutinestate(task.get_coro()) == CORO_CREATED for task in tasks):
            self._world.judge.excuse("ended before a triggerer had begun its trigger", "orphan")
        if self._world.form.airflow.keeps_task_state:
            runner.to_cancel.extend(self._cancelling)
            await runner.cancel_triggers()
            return
        for cancelled in self._cancelling & set(
            runner.triggers
        ):  # before 3.3: no message, and no ``on_kill``
            runner.triggers[cancelled]["task"].cancel()

    async def _turn(self, new: list[Any]) -> None:
        runner = self._runner
        for one in new:
            trigger = resolve_name(one.path)(**cast("Any", deserialize(one.kwargs)))
            trigger.task_instance = one.ti
            task = self.loop.create_task(runner.run_trigger(one.id, trigger))
            task.add_done_callback(lambda _: self.wake())
            runner.triggers[one.id] = {"task": task, "is_watcher": False, "name": "trigger", "events": 0}
        for cancelled in self._cancelling & set(runner.triggers):
            self._world.event(self.process.name, f"cancels trigger {cancelled}")
        await self._cancel(runner)
        finished = await runner.cleanup_finished_triggers()
        changes = runner.process_trigger_events(finished_ids=finished)
        self._running -= set(finished)
        self._cancelling -= set(finished)
        for event in changes.events or ():
            fired = partial(self._world.airflow.trigger_fired, event.trigger_id, event.event)
            self._kernel.at(self._world.latency(), fired, self.process)
        for trigger_id, trace in changes.failures or ():
            self._world.judge.broken(f"trigger {trigger_id} has failed: {trace}")
