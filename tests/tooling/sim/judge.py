"""
What is promised, checked while a schedule runs and at its end.

An exception that docs/guarantees.md names is noted when its cause happens; what it excuses is counted by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_provider_operations.exceptions import OperationsError

from .airflow import OVER
from .kernel import BEGIN_S

if TYPE_CHECKING:
    from .airflow import Worker
    from .forms import Form
    from .server import Operation
    from .world import World

__all__ = ["Judge"]

BOUND_S = 400.0
"""So long after its task's end an operation may still run: that is the limit of what waits for a cancel to work."""

NO_CODE_RUNS = frozenset({None, "queued", "scheduled", "up_for_retry"})


class Judge:
    """One schedule's."""

    def __init__(self, world: World, form: Form) -> None:
        self._world = world
        self._form = form
        self._violations: list[str] = []
        self._excused: dict[str, set[str]] = {}
        """By kind of violation, the names of the exceptions."""
        self._intents = 1
        self._cleared_s: float | None = None
        self._marked = False
        """Whether a mark is the last thing that a user did."""
        self._over_s: float | None = None
        self._noted: set[str] = set()
        self.exceptions: set[str] = set()
        """Those that had an effect."""

    def _now(self) -> float:
        return self._world.kernel.now - BEGIN_S

    # --- what happens ----------------------------------------------------------------------------------------

    def excuse(self, name: str, *kinds: str) -> None:
        """Note a named exception."""
        self._world.kernel.note("judge", f"excuses {', '.join(kinds)}: {name}")
        for kind in kinds:
            self._excused.setdefault(kind, set()).add(name)

    def broken(self, what: str, kind: str = "") -> None:
        """Note what broke a promise, if nothing excuses it."""
        names = self._excused.get(kind, set())
        self.exceptions |= names
        if not names:
            self._world.kernel.note("judge", what)
            self._violations.append(what)

    @property
    def user_acted(self) -> bool:
        """Whether somebody has marked or cleared the task."""
        return self._marked or self._cleared_s is not None

    def task_is(self, state: str | None) -> None:
        """Hear of the task's new state."""
        self._over_s = self._now() if state in OVER else None

    def marked(self) -> None:
        """Hear of a mark, just before it is made."""
        self._marked = True
        airflow, server = self._world.airflow, self._world.server
        server.make_endless()
        worker, trigger = airflow.worker, airflow.trigger
        if airflow.state in NO_CODE_RUNS:
            self.excuse("marked while no code of the task runs", "orphan")
        elif airflow.state == "running" and (worker is None or worker.on_term is None or worker.process.dead):
            self.excuse("marked while its worker starts or is lost", "orphan")
        elif airflow.state == "running" and (worker and worker.terminating):
            self.excuse("marked while its worker is told to end already", "orphan")
        elif airflow.state == "deferred" and (
            trigger is None or trigger.holder is None or trigger.holder.process.dead
        ):
            self.excuse("marked while no triggerer has its trigger", "orphan")
        if airflow.state == "running" and (server.trouble or airflow.api_away):
            self.excuse("marked in a worker while service or Airflow don't answer", "orphan")

    def cleared(self) -> None:
        """Hear of a clear, just before it is made."""
        self._marked, self._cleared_s = False, self._now()
        if not self._form.waits_only:
            self._intents += 1
            self._world.server.make_endless()

    def api_was_away(self) -> None:
        """Hear of an outage of Airflow's API."""
        if self.user_acted:
            self.excuse("Airflow doesn't answer a worker that is told to end", "orphan")
        if not self._form.request_ids:
            self.excuse(
                "the note of a start isn't taken, and there is no request id", "cancel", "starts", "orphan"
            )

    def server_was_away(self) -> None:
        """Hear of an outage of the service."""
        if self.user_acted and self._world.airflow.worker is not None:
            self.excuse("a worker that is told to end isn't answered", "orphan")

    def process_was_lost(self) -> None:
        """Hear of the end of a process without a word."""
        if self.user_acted:
            self.excuse("the process that was to cancel is lost", "orphan")

    def noted(self, record: Any) -> None:
        """Hear of a record that Airflow has stored."""
        self._noted.add(record.get("name", ""))

    def cancelled(self, operation: Operation) -> None:
        """Hear of the cancel of an operation that ran."""
        if not self.is_to_end(operation):
            self.broken(f"{operation.name} is cancelled, and nobody has ended its task", "cancel")

    def is_to_end(self, operation: Operation) -> bool:
        """Tell whether somebody has ended the task that an operation belongs to."""
        return self._marked or self._is_of_before_the_clear(operation)

    def _is_of_before_the_clear(self, operation: Operation) -> bool:
        """Tell whether a worker has started it that began before the task was cleared."""
        begun_by = [one for one in self._world.airflow.workers if one.process.name == operation.begun_by]
        if self._cleared_s is None or not begun_by:
            return False
        return begun_by[0].began_s - BEGIN_S <= self._cleared_s

    def ended(self, worker: Worker, error: BaseException | None) -> None:
        """Hear how a worker's code has ended."""
        if error is not None and not isinstance(error, OperationsError | AirflowRuntimeError):
            self.broken(f"{worker.process.name} fails with {error!r}")

    # --- the end ---------------------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """Return what broke a promise, once everything has had its time."""
        world = self._world
        operations, state = world.server.operations, world.airflow.state
        if self._form.loses_starts and any(one.name not in self._noted for one in operations):
            self.excuse("a start's answer is lost, and there is no request id", "starts", "orphan")
        if len(operations) > self._intents:
            self.broken(f"{len(operations)} starts for {self._intents} intents", "starts")
        if not self._marked and operations and self._is_of_before_the_clear(operations[-1]):
            self.broken("nothing was started after the task was cleared", "starts")
        if self._over_s is None:
            self.broken(f"the task is {state} still", "stuck")
        for one in operations:
            ends_s = (one.ends_s if one.cancelled_s is None else min(one.ends_s, one.cancelled_s)) - BEGIN_S
            if self._over_s is not None and ends_s > self._over_s + BOUND_S:
                self.broken(f"{one.name} runs on until {ends_s:.0f} s; its task is over", "orphan")
        if not self._marked and self._over_s is not None and state != "success":
            self.broken(f"the task has {state}, and its operation has succeeded", "verdict")
        for triggerer in world.triggerers:
            for error in triggerer.loop.errors:
                self.broken(f"{triggerer.process.name}: {error}")
        return self._violations
