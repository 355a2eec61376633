"""The trace of a schedule: what ``harness.recorder`` sees in a real Airflow, seen in the simulated one."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.sdk.execution_time import comms

from airflow_provider_operations._lifecycle.record import RECORD_KEY
from tests.tooling.harness.watching import form_of, watch

from .airflow import Airflow
from .forms import FORMS
from .kernel import BEGIN_S
from .schedule import Played, play
from .server import STRANGER, Server
from .traces import Event, TaskValues, Trace, family_of, said
from .triggerer import Triggerer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .kernel import Kernel
    from .server import Operation
    from .world import Plan

__all__ = ["families", "observe"]


class _Observer:
    """Collects the events of one schedule."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._kernel: Kernel | None = None
        self._values = TaskValues("", None, 0, 0)
        self._newest = ""

    def note(self, kernel: Kernel, what: str) -> None:
        self._kernel = kernel
        self.events.append(Event(kernel.now - BEGIN_S, what))

    def say(self, place: dict[str, Any], what: str, facts: dict[str, Any]) -> None:
        """Hear of a kill, or of what Airflow has answered to one: see ``watch``."""
        if what == "stay" or self._kernel is None:
            return
        self.note(self._kernel, said(what, facts, self._newest))

    def task_is(self, airflow: Airflow) -> None:
        now = TaskValues(str(airflow.id), airflow.state, airflow.try_number, airflow.max_tries)
        if not self._values.id:
            self._values = TaskValues(str(airflow.id), None, 0, now.max_tries)
        if change := self._values.change_to(now):
            self._values = now
            self.note(airflow.world.kernel, change)

    def request(self, server: Server, verb: str, path: str, who: str, known: int, status: int) -> None:
        kernel = server._world.kernel
        if verb == "run" and status == 409:
            self.note(kernel, "start: refused")
        elif verb == "run":
            self.note(kernel, "start: new" if len(server.operations) > known else "start: known")
            self._newest = server.operations[-1].name
            return
        name = path.removeprefix("/v1/").partition(":")[0]
        which = "newest" if name == self._newest else "older"
        actor = "triggerer" if who.startswith("triggerer") else "worker"
        found = next((one for one in server.operations if one.name == name), None)
        if found is None or status != 200:
            return
        if verb == "cancel":
            in_vain = found.cancels[-1:] != [kernel.now]
            self.note(kernel, f"cancel in {actor}: {'in vain' if in_vain else which}")
        else:
            stands = "over" if found.resource(kernel.now)["done"] else "runs"
            self.note(kernel, f"poll in {actor}: {which} {stands}")

    def message(self, airflow: Airflow, msg: Any) -> None:
        kernel = airflow.world.kernel
        match msg:
            case comms.SetXCom(key="operation_name"):
                self.note(kernel, f"xcom: {'newest' if self._newest in str(msg.value) else 'older'}")
            case comms.DeleteXCom(key="operation_name"):
                self.note(kernel, "xcom: none")
            case comms.SetTaskStateStore(key=key) if key == RECORD_KEY:
                self.note(kernel, f"record: {msg.value['state']}")  # type: ignore[index,call-overload]  # our JSON

    def ends(self, operations: list[Operation]) -> Iterator[Event]:
        for number, one in enumerate(operations, 1):
            cancelled = one.cancelled_s is not None and one.cancelled_s <= one.ends_s
            at_s = (one.cancelled_s if cancelled and one.cancelled_s else one.ends_s) - BEGIN_S
            later = [each.started_s - BEGIN_S for each in operations[number:]]
            which = "older" if any(began <= at_s for began in later) else "newest"
            how = "cancelled" if cancelled else "failed" if getattr(one, "code", 0) else "succeeded"
            yield Event(at_s, f"end: {which} {how}")


@contextmanager
def _observed(observer: _Observer) -> Iterator[None]:
    """Let the parts of the simulation say what happens."""
    set_state, take, read = Airflow.set_state, Airflow._take, Airflow._read
    carry_out, begin, look = Server._carry_out, Server.begin, Triggerer._look

    @wraps(set_state)
    def states(self: Airflow, state: str | None, why: str) -> None:
        set_state(self, state, why)
        observer.task_is(self)

    @wraps(take)
    def taken(self: Airflow, worker: Any, msg: Any) -> Any:
        if isinstance(msg, comms.SetTaskStateStore):
            observer.message(self, msg)
        return take(self, worker, msg)

    @wraps(read)
    def answered(self: Airflow, msg: Any) -> Any:
        observer.message(self, msg)
        return read(self, msg)

    @wraps(carry_out)
    def served(self: Server, verb: str, path: str, query: Any, who: str) -> Any:
        known = len(self.operations)
        status, text = carry_out(self, verb, path, query, who)
        observer.request(self, verb, path, who, known, status)
        return status, text

    @wraps(begin)
    def begins(self: Server, who: str, request_id: str = "") -> None:
        begin(self, who, request_id)
        if who == STRANGER:
            observer.request(self, "run", "", who, 0, 200)

    @wraps(look)
    def looks(self: Triggerer) -> None:
        before = [(trigger, trigger.holder) for trigger in self._world.airflow.triggers]
        look(self)
        for trigger, holder in before:
            if trigger.holder is not holder:
                observer.note(self._kernel, f"trigger: {'taken' if holder is None else 'taken over'}")

    with ExitStack() as stack:
        for where, name, watched in (
            (Airflow, "set_state", states),
            (Airflow, "_take", taken),
            (Airflow, "_read", answered),
            (Server, "_carry_out", served),
            (Server, "begin", begins),
            (Triggerer, "_look", looks),
        ):
            stack.enter_context(patch.object(where, name, watched))
        stack.enter_context(watch(observer.say))
        yield


def observe(plan: Plan) -> tuple[Played, Trace]:
    """Play a plan, and return what was seen of it from outside."""
    observer = _Observer()
    with _observed(observer):
        seen = play(plan)
    ends = observer.ends(seen.world.server.operations)
    events = tuple(sorted([*observer.events, *ends], key=lambda event: event.at_s))
    return seen, Trace(str(plan), families()[plan.form], events).without_repetitions()


def families() -> dict[str, str]:
    """
    Return the family of each form that is simulated on an Airflow like the recorded one.

    Not of those that follow another's operation, or have sweeps beside them: of these none was recorded.
    """
    return {
        name: family_of(form_of(form.task))
        for name, form in FORMS.items()
        if form.airflow.name == "3.3" and not (form.foreign or form.swept)
    }
