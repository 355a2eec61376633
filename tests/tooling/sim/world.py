"""One schedule: a task, the simulated Airflow and service around it, and the faults that a plan has for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .airflow import Airflow
from .channel import Channel
from .coverage import kind_of
from .faults import FAULTS
from .judge import Judge
from .kernel import Endless
from .lines import Lines
from .server import RUNS_S, STRANGER, Server
from .sweeping import Sweeper
from .triggerer import ROUND_S, Triggerer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .forms import Form
    from .kernel import Kernel, Process

__all__ = ["HORIZON_S", "Plan", "World"]

HORIZON_S = 4500.0
TRIGGERERS = 2
RESTART_S = 15.0
LATER_S = 1e9


@dataclass(frozen=True)
class Plan:
    """
    What makes a schedule, and makes it again.

    :param form: name of the task's form.
    :param faults: at which hand-over, counted from 1, which fault.
    :param line: before which line of the package, when a worker comes to it first, which fault; see ``Lines``.
    """

    form: str
    seed: int
    faults: tuple[tuple[int, str], ...] = ()
    line: tuple[str, str] | None = None


class World:
    """All that is simulated."""

    def __init__(self, kernel: Kernel, form: Form, plan: Plan) -> None:
        self.kernel = kernel
        self.plan = plan
        self.form = form
        self.task: Any = form.task
        self.lines = None if plan.line is None else Lines(self, *plan.line)
        self._faults: dict[int, list[str]] = {}
        for point, fault in plan.faults:
            self._faults.setdefault(point, []).append(fault)
        self.points = 0
        self.round_s = ROUND_S
        """So long a triggerer's supervisor may take to see what is new in the database."""
        self.skews: dict[str, float] = {}
        """By kind of process, ``worker`` or ``triggerer``: by how many seconds the clocks of its hosts are ahead."""
        self.connection_is_gone = False
        """Whether triggers can't look their connection up."""
        self.events: list[int] = []
        """Which of the points are changes of Airflow's database."""
        self.reached: list[tuple[str, str]] = []
        """At which kind of point which fault has happened."""
        self.runs_s = min(kernel.random.uniform(*kernel.random.choice(RUNS_S)), (form.limit_s or LATER_S) / 3)
        self.judge = Judge(self, form)
        self.server = Server(self, form)
        self.airflow = Airflow(self, form.retries)
        if form.waits_only or form.foreign:
            self.server.begin(STRANGER)
        self.last_holder: Triggerer | None = None
        """The triggerer that has taken a trigger last."""
        self.triggerers = [Triggerer(self, number + 1) for number in range(TRIGGERERS)]
        self.sweeper = Sweeper(self) if form.swept else None
        self._channels: dict[Process | None, Channel] = {}

    def play(self) -> list[str]:
        """Let it all happen; return what broke a promise."""
        self.airflow.schedule()
        try:
            self.kernel.run(HORIZON_S)
        except Endless as error:
            self.judge.broken(f"it doesn't end: {error}")
        return self.judge.verdict()

    def send(self, msg: Any) -> Any:
        """Ask the supervisor of the process that is running; blocks."""
        with self._channels.setdefault(self.kernel.current, Channel(self.kernel)):
            return self.airflow.send(msg)

    def skew_s(self, process: str) -> float:
        """Return by how many seconds the clock is ahead on the host of a process."""
        return self.skews.get(process.partition(" ")[0], 0.0)

    def latency(self) -> float:
        """Return how long a message takes."""
        return self.kernel.random.uniform(0.002, 0.05)

    def hand_over(self, process: Process, what: str, where: str) -> None:
        """Note that something passes from one part to another: the moments at which faults are planned."""
        for fault in self._planned(process.name, f"{what} {where}"):
            self.do(fault)

    def event(self, actor: str, what: str) -> None:
        """Note a change in Airflow's database; faults come just after it."""
        self.events.append(self.points + 1)
        for fault in self._planned(actor, what):
            self.kernel.at(0, partial(self.do, fault))

    def _planned(self, actor: str, what: str) -> Sequence[str]:
        self.points += 1
        self.kernel.note(actor, f"{what} [{self.points}]")
        planned: Sequence[str] = self._faults.get(self.points, ())
        for fault in planned:
            self.reached.append((kind_of(actor, what), fault))
        return planned

    def do(self, fault: str) -> None:
        """Let a fault happen now."""
        self.kernel.note("fault", fault)
        FAULTS[fault](self)

    def stalled_s(self, process: Process) -> float:
        """Return for how long a triggerer's supervisor doesn't answer what runs in it."""
        return next((one.late_s for one in self.triggerers if one.process is process), 0.0)

    def wake_triggerers(self) -> None:
        """Something in the database has changed."""
        for triggerer in self.triggerers:
            triggerer.wake()

    def restart_triggerer(self, dead: Triggerer) -> None:
        """Kill a triggerer, and start another one in its place."""
        dead.kill()
        self.kernel.at(RESTART_S, self._start_triggerer)

    def restart_triggerers(self, after_s: float) -> None:
        """Kill all triggerers, and start as many as at the beginning in their place, so much later."""
        for dead in self.triggerers:
            if not dead.process.dead:
                dead.kill()
        for _ in range(TRIGGERERS):
            self.kernel.at(after_s, self._start_triggerer)

    def end_triggerer(self, one: Triggerer) -> None:
        """End a triggerer as an operating system does that is shut down, and start another one in its place."""
        one.end()
        self.kernel.at(RESTART_S, self._start_triggerer)

    def _start_triggerer(self) -> None:
        self.triggerers.append(Triggerer(self, len(self.triggerers) + 1))
        self.triggerers[-1].wake()
