"""
Every kind of fault, and what the task under it must come to.

Faults of one task are rounds of their own, side by side in one batch. Faults of a shared part (a triggerer, the
scheduler, the emulator) hit all rounds of a batch at once.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from .acts import DAY, LATER, after, dag, outage, trouble, when
from .cluster import TRIGGERER_THRESHOLD_S, TRIGGERERS
from .network_faults import ALLOWED_LATENESS_S, API_FAULTS, TROUBLES
from .rounds import Expect, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from .rounds import World

    SharedSteps = Callable[[World, list[Round]], Iterator[Callable[[], bool]]]

__all__ = [
    "SLOW_START",
    "Shared",
    "mixed",
    "note",
    "once_each",
    "out_of_reach",
    "shared",
    "singles",
    "triggerers_started",
]

TIMEOUT_S = 12
"""As in ``dags/chaos.py``."""

WORKER_STARTS_S = 60
"""What Airflow may take to start the worker that cancels, and the one of a retry before it, among 28 tasks at once."""

# --- singles -----------------------------------------------------------------------------------------------

PHASES = ("before_request", "unanswered", "answered", "stored", "resuming", "delivered", "waiting")
SLOW_START = [{"kind": "start", "delay": 8, "times": 1}]


def singles(outage_s: float, *, short: bool) -> list[Round]:
    """
    Return one round of each fault of a single task, deferrable and not, with request ids and without.

    :param short: faults of the server only in one mode each.
    """
    server = [*_outages(outage_s), *_cancels()]
    if short:
        server = once_each(server)
    return [*_untouched(), *_deaths(), *_users(), *_limits(), *server]


def once_each(rounds: list[Round]) -> list[Round]:
    """Keep one round of each kind, in alternating modes."""
    found: dict[tuple[str, ...], list[Round]] = {}
    for one in rounds:
        found.setdefault(one.kinds, []).append(one)
    return [same[number % len(same)] for number, same in enumerate(found.values())]


def _untouched() -> Iterator[Round]:
    for mode in ("deferred", "running"):
        yield Round(("none",), dag(mode), Expect())
        yield Round(("none",), dag(mode, "sensor"), Expect())
        final = {"duration": 5, "error": {"code": 9, "message": "the disk is full"}}
        yield Round(
            ("operation fails for good",),
            dag(mode),
            Expect(("failed",), error=("OperationFailedFinal",)),
            final,
        )
        passing = {"duration": 3, "error": {"code": 14, "message": "come again"}}
        yield Round(
            ("operation fails each time",),
            dag(mode),
            Expect(("failed",), starts=(4, 4), error=("OperationFailed",)),
            passing,
        )


def _deaths() -> Iterator[Round]:
    for mode in ("deferred", "running"):
        for phase in PHASES:
            if phase == ("waiting" if mode == "deferred" else "resuming"):
                continue
            server = list(SLOW_START) if phase == "unanswered" else []
            yield Round((f"worker killed: {phase}",), dag(mode), Expect(), die={phase: "task"}, server=server)
            if phase not in {"unanswered", "answered"}:
                yield Round((f"worker killed: {phase}",), dag(mode, "noids"), Expect(), die={phase: "task"})
        for phase in ("stored", "answered", "resuming" if mode == "deferred" else "waiting"):
            yield Round(
                (f"worker and supervisor killed: {phase}",), dag(mode), Expect(), die={phase: "worker"}
            )
        # Airflow lets on_kill run. What no record names yet is cancelled, and the next try starts another.
        not_noted = Expect(starts=(1, 2), touched=True)
        for phase in PHASES:
            if phase == ("waiting" if mode == "deferred" else "resuming"):
                continue
            server = [{"kind": "start", "delay": 5, "times": 1}] if phase == "unanswered" else []
            expect = not_noted if phase in {"before_request", "unanswered"} else Expect()
            yield Round((f"evicted: {phase}",), dag(mode), expect, die={phase: "evict"}, server=server)
    yield Round(("evicted: waiting",), dag("running", "sensor"), Expect(), die={"waiting": "evict"})
    for kind in ("ids", "noids", "sensor"):
        yield Round(
            ("worker stands still until a retry has its task",),
            dag("running", kind),
            Expect(),
            {"duration": 100},
            steps=[_stands_still],
        )
    yield Round(("worker killed: waiting",), dag("running", "sensor"), Expect(), die={"waiting": "task"})
    yield Round(("worker killed: resuming",), dag("deferred", "sensor"), Expect(), die={"resuming": "task"})


def _stands_still(world: World, one: Round) -> Iterator[Callable[[], bool]]:
    """Stop a worker until Airflow has given it up and a retry waits for the operation; then it goes on."""
    yield lambda: world.running(one)
    first = world.ti(one)
    worker = world.cluster.worker(first) if first is not None else None
    assert first is not None
    assert worker is not None
    stopped = [process for process in (worker.parent(), worker) if process is not None]
    for process in stopped:
        process.suspend()
    one.act("worker stopped")

    def retried() -> bool:
        ti = world.ti(one)
        return ti is not None and ti.try_number > first.try_number and world.running(one)

    try:
        yield retried
        yield after(3)
        one.acted += 1
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        one.act("worker goes on")


def _users() -> Iterator[Round]:
    marked = {"failed": "failed", "success": "success"}
    for mode in ("deferred", "running"):
        for action, state in marked.items():
            expect = Expect((state,), touched=True)
            yield Round((f"mark-{action}: {mode}",), dag(mode), expect, dict(DAY), steps=[when(mode, action)])
        cleared = Expect(starts=(2, 2), touched=True)
        yield Round((f"clear: {mode}",), dag(mode), cleared, dict(LATER), steps=[when(mode, "clear")])
        yield Round(
            (f"clear: {mode}",), dag(mode, "noids"), cleared, dict(LATER), steps=[when(mode, "clear")]
        )
        yield Round(
            ("clear: start unanswered",),
            dag(mode),
            cleared,
            dict(LATER),
            server=[{"kind": "start", "delay": 4, "times": 1}],
            steps=[when("unanswered", "clear")],
        )
        yield Round(
            ("worker killed: stored", "clear: up_for_retry"),
            dag(mode, limit="slowretry"),
            cleared,
            dict(LATER),
            die={"stored": "task"},
            steps=[when("up_for_retry", "clear")],
        )
        gone = Expect(("gone",), touched=True)
        yield Round((f"run deleted: {mode}",), dag(mode), gone, dict(DAY), steps=[when(mode, "delete")])
        twice = Expect(("failed",), touched=True)
        yield Round(
            (f"killed twice: {mode}",), dag(mode), twice, dict(DAY), steps=[when(mode, "failed twice")]
        )
        for action, state in marked.items():
            yield Round(
                (f"mark-{action}: start unanswered",),
                dag(mode),
                Expect((state,), touched=True),
                dict(DAY),
                server=[{"kind": "start", "delay": 4, "times": 1}],
                steps=[when("unanswered", action)],
            )
        sensed = Expect(("failed",), touched=True)
        yield Round(
            (f"mark-failed: {mode}",), dag(mode, "sensor"), sensed, dict(DAY), steps=[when(mode, "failed")]
        )
    short = {"duration": 5}
    for action, state in marked.items():
        expect = Expect((state,), touched=True)
        yield Round(
            (f"mark-{action}: resuming",),
            dag("deferred"),
            expect,
            dict(short),
            linger={"resuming": 15},
            steps=[when("resuming", action)],
        )
        yield Round(
            (f"mark-{action}: operation finished",),
            dag("running"),
            expect,
            dict(short),
            linger={"delivered": 15},
            steps=[when("delivered", action)],
        )
    yield Round(
        ("clear: resuming",),
        dag("deferred"),
        Expect(starts=(2, 2), touched=True),
        dict(short),
        linger={"resuming": 15},
        steps=[when("resuming", "clear")],
    )


def _limits() -> Iterator[Round]:
    for mode in ("deferred", "running"):
        for limit in ("timeout", "execution_timeout"):
            expect = Expect(
                ("failed",),
                starts=(4, 4),
                error=("OperationTimeout",),
                touched=True,
                within_s=TIMEOUT_S + WORKER_STARTS_S,
            )
            yield Round((limit,), dag(mode, limit=limit), expect, dict(DAY))
            sensed = replace(expect, starts=(1, 1), error=("OperationSensorTimeout",), within_s=None)
            yield Round((limit,), dag(mode, "sensor", limit), sensed, dict(DAY))
        expect = Expect(("skipped", "failed"), touched=True)
        yield Round(("dagrun_timeout",), dag(mode, limit="dagrun_timeout"), expect, dict(DAY), first=True)
        # The deadline counts from the start of the operation, not from the reattaching.
        killed = Expect(
            ("failed",),
            starts=(3, 4),
            error=("OperationTimeout",),
            touched=True,
            within_s=TIMEOUT_S + WORKER_STARTS_S,
        )
        yield Round(
            ("timeout", "worker killed: stored"),
            dag(mode, limit="timeout"),
            killed,
            dict(DAY),
            die={"stored": "task"},
        )


def _outages(seconds: float) -> Iterator[Round]:
    faults: dict[str, dict[str, Any]] = {
        "503": {"status": 503},
        "429 Retry-After": {"status": 429, "headers": {"Retry-After": "3"}},
        "connections dropped": {"drop": True},
        "stalling": {"delay": seconds},
    }
    for mode in ("deferred", "running"):
        for name, fault in faults.items():
            yield Round((f"server {name}",), dag(mode), Expect(), steps=[outage(seconds, **fault)])
        yield Round(
            ("server 503, sensor",),
            dag(mode, "sensor"),
            Expect(),
            {"duration": 60},
            steps=[outage(seconds, status=503)],
        )
        at_start: dict[str, dict[str, Any]] = {
            "503": {"status": 503, "times": 2},
            "429 Retry-After": {"status": 429, "headers": {"Retry-After": "2"}, "times": 2},
            "503 Retry-After": {"status": 503, "headers": {"Retry-After": "2"}, "times": 2},
            "connection dropped": {"drop": True, "times": 1},
        }
        for name, fault in at_start.items():
            for ids in ("ids", "noids"):
                kind = f"start answered {name}"
                yield Round((kind,), dag(mode, ids), Expect(), server=[{"kind": "start", **fault}])
        lost = {"kind": "start", "dropAfterEffect": True, "times": 1}
        yield Round(("start's answer lost",), dag(mode), Expect(), server=[lost])


def _cancels() -> Iterator[Round]:
    """A server that doesn't cancel as asked: what it leaves running isn't held against the provider."""
    answers: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
        "ignored": ({"onCancel": "ignore"}, []),
        "takes hours": ({"cancelDelay": 24 * 3600}, []),
        "UNIMPLEMENTED": ({"onCancel": "unimplemented"}, []),
        **{str(status): ({}, [{"kind": "cancel", "status": status}]) for status in (400, 404, 409)},
        "500 HTML": ({}, [{"kind": "cancel", "status": 500, "body": "<html>oops</html>"}]),
    }
    for mode in ("deferred", "running"):
        for name, (script, server) in answers.items():
            # A trigger goes on asking where that may help, and is heard when the next batch begins and the server's
            # faults end.
            least = 0 if mode == "deferred" and name in {"400", "409", "500 HTML"} else 1
            expect = Expect(("failed",), left=(least, 1), touched=True, asked=True)
            yield Round(
                (f"cancel: {name}",),
                dag(mode),
                expect,
                {**DAY, **script},
                server=[dict(fault) for fault in server],
                steps=[when(mode, "failed")],
            )


# --- out of reach ------------------------------------------------------------------------------------------


def out_of_reach() -> list[Round]:
    """Return the cases that the design names as out of reach, and what exactly they come to."""
    no_retry = "retries=0 and the worker is killed"
    retrying = "marked while it waits for its retry"
    no_ids = "no request ids, and the answer to the start is lost"
    begins = "marked while a retry's worker has not got to the record yet"
    unowned = "marked before a triggerer has taken the trigger"
    late = "killed, and the start is answered later than Airflow lets the worker live"
    two = Expect(starts=(2, 2), left=(0, 1), out_of_reach=no_ids)
    rounds = [
        Round(
            ("mark-failed: just deferred",),
            dag("deferred"),
            Expect(("failed",), left=(0, 1), touched=True, out_of_reach=unowned, swept=True),
            dict(DAY),
            steps=[when("just deferred", "failed")],
        ),
    ]
    for mode in ("deferred", "running"):
        rounds += [
            Round(
                ("worker killed: stored",),
                dag(mode, limit="noretry"),
                Expect(("failed",), left=(1, 1), out_of_reach=no_retry, swept=True),
                dict(DAY),
                die={"stored": "task"},
            ),
            Round(
                ("worker killed: stored", "mark-failed: up_for_retry"),
                dag(mode, limit="slowretry"),
                Expect(("failed",), left=(1, 1), touched=True, out_of_reach=retrying, swept=True),
                dict(DAY),
                die={"stored": "task"},
                steps=[when("up_for_retry", "failed")],
            ),
            Round(
                ("worker killed: stored", "mark-failed: retry begins"),
                dag(mode),
                Expect(("failed",), left=(1, 1), touched=True, out_of_reach=begins, swept=True),
                dict(DAY),
                die={"stored": "task"},
                linger={"retrying": 10},
                steps=[when("retrying", "failed")],
            ),
            Round(
                ("mark-failed: start answered too late",),
                dag(mode),
                Expect(("failed",), left=(1, 1), touched=True, out_of_reach=late),
                dict(DAY),
                server=[{"kind": "start", "delay": 20, "times": 1}],
                steps=[when("unanswered", "failed")],
            ),
            Round(("worker killed: answered",), dag(mode, "noids"), two, die={"answered": "task"}),
            Round(
                ("worker killed: unanswered",),
                dag(mode, "noids"),
                two,
                die={"unanswered": "task"},
                server=list(SLOW_START),
            ),
            Round(
                ("start's answer lost",),
                dag(mode, "noids"),
                two,
                server=[{"kind": "start", "dropAfterEffect": True, "times": 1}],
            ),
        ]
    return rounds


# --- shared parts ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """
    Faults of parts that all rounds of a batch share, one after the other.

    :param rounds: what runs meanwhile.
    """

    names: tuple[str, ...]
    steps: tuple[SharedSteps, ...]
    rounds: Callable[[], list[Round]]
    ready: Callable[[World, list[Round]], Callable[[], bool]] | None = None
    """What is waited for before each step: that all rounds have got to their operations, unless it says otherwise."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return ", ".join(self.names)

    def play(self, world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
        """Inject them."""
        for name, step in zip(self.names, self.steps, strict=True):
            yield (self.ready or _all_waiting)(world, rounds)
            meant = [one for one in rounds if not world.over(one)]
            for one in meant:
                one.kinds = (*one.kinds, name)
            yield from step(world, meant)


def _all_waiting(world: World, rounds: list[Round]) -> Callable[[], bool]:
    """Return the condition that every round has got to its operation, or a minute is over."""
    end = time.monotonic() + 60

    def ready() -> bool:
        if time.monotonic() > end:
            return True
        return all(world.deferred(one, 2.0) or world.running(one) or world.over(one) for one in rounds)

    return ready


def note(rounds: list[Round], what: str) -> None:
    """Note what was done to all of them."""
    for one in rounds:
        one.act(what)


def triggerers_started(world: World, *triggerers: str) -> Iterator[Callable[[], bool]]:
    """Start triggerers, one after the other."""
    for name in triggerers:
        world.cluster.start(name)
        yield lambda name=name: world.cluster.is_up(name)  # type: ignore[misc]  # mypy can't infer the default's type


def _one_triggerer(world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
    doomed = [one for one in rounds if "mark-failed: its triggerer is dead" in one.kinds]
    owners = [world.cluster.owner(ti) for one in doomed if (ti := world.ti(one)) is not None]
    victim = next(filter(None, owners), None) or max(TRIGGERERS, key=world.cluster.owned)
    world.cluster.kill(victim)
    note(rounds, f"{victim} killed")
    yield after(TRIGGERER_THRESHOLD_S + 10)
    yield from triggerers_started(world, victim)


def _both_triggerers(world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
    for victim in TRIGGERERS:
        world.cluster.kill(victim)
    note(rounds, "both triggerers killed")
    yield after(TRIGGERER_THRESHOLD_S + 2)
    yield from triggerers_started(world, *TRIGGERERS)


def _stopped_triggerer(world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
    victim = max(TRIGGERERS, key=world.cluster.owned)
    other = next(name for name in TRIGGERERS if name != victim)
    world.cluster.stop(victim)
    note(rounds, f"{victim} stopped")
    yield after(TRIGGERER_THRESHOLD_S)
    timeout = after(40)
    yield lambda: world.cluster.owned(victim) == 0 or timeout()
    note(rounds, f"{other} took over: {world.cluster.owned(other)}, left {world.cluster.owned(victim)}")
    yield after(5)
    world.cluster.go_on(victim)
    note(rounds, f"{victim} continued")


def _scheduler(world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
    world.cluster.kill("scheduler")
    note(rounds, "scheduler killed")
    yield after(5)
    world.cluster.start("scheduler")


def _emulator(world: World, rounds: list[Round]) -> Iterator[Callable[[], bool]]:
    world.cluster.emulator.kill()
    note(rounds, "emulator killed")
    yield after(8)
    world.cluster.emulator.restart()


def _company(names: tuple[str, ...], seconds: float) -> list[Round]:
    """Return the rounds that run meanwhile."""
    script = {"duration": seconds}
    rounds = [
        Round((), dag("deferred"), Expect(), dict(script)),
        Round((), dag("deferred", "noids"), Expect(), dict(script)),
        Round((), dag("deferred", "sensor"), Expect(), dict(script)),
        # A scheduler that comes back takes the local executor's tasks for lost and lets their workers be killed.
        Round((), dag("running"), Expect(), dict(script)),
    ]
    if "triggerer killed" in names:
        # The other one is alive and deletes the trigger, which it doesn't run.
        reason = "marked while the triggerer that owns the task is dead"
        expect = Expect(("failed",), left=(1, 1), touched=True, out_of_reach=reason, swept=True)
        step = when("its triggerer is dead", "failed")
        rounds.append(
            Round(("mark-failed: its triggerer is dead",), dag("deferred"), expect, dict(DAY), steps=[step])
        )
    if "both triggerers killed" in names:
        # The first one that comes back runs the trigger once more, and so hears that it is cancelled; unless Airflow
        # drops it before it is begun, which is out of reach.
        expect = Expect(("failed",), left=(0, 1), touched=True, swept=True)
        step = when("no triggerer lives", "failed")
        rounds.append(
            Round(("mark-failed: no triggerer lives",), dag("deferred"), expect, dict(DAY), steps=[step])
        )
    return rounds


KINDS: dict[str, SharedSteps] = {
    "triggerer killed": _one_triggerer,
    "triggerer stopped, continued after the takeover": _stopped_triggerer,
    "both triggerers killed": _both_triggerers,
    "emulator killed and restarted": _emulator,
    "scheduler killed": _scheduler,
}


def shared(*, short: bool) -> list[Shared]:
    """Return the faults of shared parts: each on its own, or in short several after each other."""
    if not short:
        return [_of((name,), 60) for name in KINDS]
    triggerers = tuple(name for name in KINDS if "triggerer" in name)
    return [_of(triggerers, 110), _of(tuple(name for name in KINDS if name not in triggerers), 80)]


def _of(names: tuple[str, ...], seconds: float) -> Shared:
    return Shared(names, tuple(KINDS[name] for name in names), lambda: _company(names, seconds))


MIXED_OUTAGES: list[tuple[str, dict[str, Any]]] = [
    ("503", {"status": 503}),
    ("connections dropped", {"drop": True}),
    ("429 Retry-After", {"status": 429, "headers": {"Retry-After": "3"}}),
]


# --- mixes -------------------------------------------------------------------------------------------------


def mixed(random: Random, outage_s: float, count: int, fault: Shared) -> list[Round]:
    """
    Return rounds with random faults of their own, to go with a fault of a shared part.

    Each round has one base (undisturbed, a user's act, a deadline), and up to two disturbances that must not
    change how it ends.
    """
    return [_mix(random, outage_s, fault.name) for _ in range(count)]


def _mix(random: Random, outage_s: float, shared_fault: str) -> Round:
    mode = random.choice(("deferred", "running"))
    base = random.choice(("wait", "wait", "mark", "clear", "timeout"))
    if "triggerer" in shared_fault and base == "mark" and mode == "deferred":
        base = "wait"  # out of reach, if the mark falls into the time when nobody owns the trigger
    if "scheduler" in shared_fault and mode == "running":
        mode = "deferred"  # its worker would be taken for lost, and every count be right
    one = Round((), dag(mode), Expect(), {"duration": random.randint(5, 45)})
    if base == "mark":
        action = random.choice(("failed", "success"))
        one = Round((f"mark-{action}",), dag(mode), Expect((action,), touched=True), dict(DAY))
        one.steps.append(when(mode, action))
    elif base == "clear":
        one = Round(("clear",), dag(mode), Expect(starts=(2, 2), touched=True), {**LATER, "duration": 90})
        one.steps.append(when(mode, "clear"))
    elif base == "timeout":
        expect = Expect(("failed",), starts=(2, 4), error=("OperationTimeout",), touched=True)
        one = Round(("timeout",), dag(mode, limit="timeout"), expect, dict(DAY))
    if base == "mark" and mode == "deferred" and random.random() < 0.5:
        name, fault = random.choice(MIXED_OUTAGES)
        one.kinds = (*one.kinds, f"server {name}")
        one.expect = replace(one.expect, settle_s=ALLOWED_LATENESS_S)
        one.steps.insert(0, outage(outage_s, **fault))
    elif base in {"wait", "mark"} and random.random() < 0.4:
        _let_network_fail(random, one)
        return one
    phases = ["before_request", "unanswered", "answered", "stored"]
    for _ in range(random.randint(0 if one.kinds else 1, 2)):
        if random.random() < 0.6 and phases:
            phase = phases.pop(random.randrange(len(phases)))
            one.die[phase] = random.choice(("task", "task", "worker"))
            one.kinds = (*one.kinds, f"worker killed: {phase}")
            if phase == "unanswered":
                one.server += list(SLOW_START)
        elif base == "wait":
            name, fault = random.choice(MIXED_OUTAGES)
            one.script = {"duration": 80}  # it must last until a lost worker is replaced
            one.kinds = (*one.kinds, f"server {name}")
            one.steps.append(outage(outage_s, **fault))
    return one


def _let_network_fail(random: Random, one: Round) -> None:
    """Add a fault of the execution API or of the way to the server, which must not change how the round ends."""
    if one.steps or random.random() < 0.6:
        name = random.choice(
            [each for each in API_FAULTS if "deferred" in one.dag_id or "deferral" not in each]
        )
        one.api.append(API_FAULTS[name]())
    else:
        name = random.choice(TROUBLES)
        one.own_line = True
        one.steps.append(trouble(15, name))
        name = f"way to the server: {name}"
    one.kinds = (*one.kinds, name)
    if not one.expect.touched:
        one.script = {"duration": 80}
