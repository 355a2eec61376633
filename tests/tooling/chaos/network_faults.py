"""
Faults of the network around one task: Airflow's execution API, the way to the server, and what the server says once.

Rounds of their own, side by side with those of ``faults.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .acts import DAY, LATER, after, dag, server_fault, trouble, when
from .proxies import ApiFault
from .rounds import Expect, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .acts import Steps
    from .rounds import World

__all__ = ["ALLOWED_LATENESS_S", "API_FAULTS", "TROUBLES", "network_singles"]

STORE = "/store/ti/"
STARTED = '"state": ?"started"'
STARTING = '"state": ?"starting"'
DEFERRED = '"state": ?"deferred"'
STATE = "/task-instances/[^/]+/state$"

FAILED = Expect(("failed",), touched=True)
RESTARTED = Expect(starts=(2, 2), touched=True)
ALLOWED_LATENESS_S = 240.0
"""A cancel call in the background pauses up to five minutes, and twice as long from pause to pause."""


def network_singles() -> list[Round]:
    """Return one round of each fault of the network around a single task."""
    return [
        *_not_stored(),
        *_execution_api(),
        *_given_up(),
        *_refused_deferrals(),
        *_kills_in_outages(),
        *_troubles(),
        *_odd_answers(),
        *_wrong_connections(),
    ]


# --- the execution API -------------------------------------------------------------------------------------


def _not_stored() -> Iterator[Round]:
    """``started`` can't be stored: the next try finds the operation by its request id, or this one waits."""
    for mode in ("deferred", "running"):
        for ids in ("ids", "noids"):
            for seconds in (20, 6):
                fault = ApiFault("PUT", STORE, STARTED, status=503, for_s=seconds)
                kind = f"started not stored: 503 for {seconds} s"
                yield Round((kind,), dag(mode, ids), Expect(), {"duration": 90}, api=[fault])
        refused = ApiFault("PUT", STORE, STARTED, refuse=True, for_s=20)
        yield Round(
            ("started not stored: refused for 20 s",), dag(mode), Expect(), {"duration": 90}, api=[refused]
        )
        held = ApiFault("PUT", STORE, STARTED, hold_s=10, times=1)
        yield Round(("started stored late: held for 10 s",), dag(mode), Expect(), api=[held])
        # On the last try nobody would find it again, so it is cancelled if it can't be noted in time.
        for_ever = ApiFault("PUT", STORE, STARTED, status=503, for_s=120)
        kind = "started not stored: 503 on the last try"
        yield Round((kind,), dag(mode, limit="noretry"), FAILED, dict(DAY), api=[for_ever])
        # Without an id nobody would find it again either.
        kind = "started not stored: 503 for 120 s, no request ids"
        expect = Expect(("success", "failed"), starts=(2, 4), touched=True)
        yield Round(
            (kind,), dag(mode, "noids"), expect, {"duration": 200, "cancelDelay": 1}, api=[replace(for_ever)]
        )


API_FAULTS: dict[str, Callable[[], ApiFault]] = {
    "started not stored: 503 for 6 s": lambda: ApiFault("PUT", STORE, STARTED, status=503, for_s=6),
    "starting not stored: 503 for 8 s": lambda: ApiFault("PUT", STORE, STARTING, status=503, for_s=8),
    "record not read: 503 for 8 s": lambda: ApiFault("GET", STORE, status=503, for_s=8),
    "name not pushed: 503 for 20 s": lambda: ApiFault(
        "POST", "/xcoms/.*/operation_name", status=503, for_s=20
    ),
    "deferral: 503 for 8 s": lambda: ApiFault("PATCH", STATE, DEFERRED, status=503, for_s=8),
    "deferral: refused for 8 s": lambda: ApiFault("PATCH", STATE, DEFERRED, refuse=True, for_s=8),
    "deferral: answer lost": lambda: ApiFault("PATCH", STATE, DEFERRED, lose_answer=True, times=1),
    "all calls: refused for 10 s": lambda: ApiFault(path="/heartbeat|/store|/state", refuse=True, for_s=10),
    "all calls: held for 3 s": lambda: ApiFault(path="/store|/xcoms|/state", hold_s=3, for_s=15),
}
"""What Airflow's own client repeats, or the next try makes good: one start, and no cancel."""


def _execution_api() -> Iterator[Round]:
    for name, fault in API_FAULTS.items():
        for mode in ("deferred",) if "deferral" in name else ("deferred", "running"):
            yield Round((name,), dag(mode), Expect(), {"duration": 45}, api=[fault()])
    lost = ApiFault("PATCH", STATE, '"state": ?"success"', lose_answer=True, times=1)
    yield Round(("success: answer lost",), dag("deferred"), Expect(), api=[lost])


def _given_up() -> Iterator[Round]:
    """Airflow can't be reached until the supervisor gives its worker up; the retry takes the operation over."""
    for kind in ("ids", "noids", "sensor"):
        pushed = ApiFault("POST", "/xcoms/.*/operation_name", hold_s=0.1, times=1)
        away = ApiFault(refuse=True, for_s=45, once_met=pushed)
        yield Round(
            ("all calls: refused for 45 s",),
            dag("running", kind),
            Expect(),
            {"duration": 120},
            api=[pushed, away],
        )


def _acted_while_held(action: str) -> Steps:
    """Act while a call of the task's is held, and let it go on right then."""

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield from when("api fault", action)(world, one)
        for fault in one.api:
            world.cluster.execution_api.release(fault)

    return steps


def _refused_deferrals() -> Iterator[Round]:
    """A user acts between start and deferral: Airflow refuses the deferral, and no trigger comes to be."""
    acts = {"failed": FAILED, "success": replace(FAILED, states=("success",)), "clear": RESTARTED}
    for action, expect in acts.items():
        for kind in ("ids", "noids", "sensor"):
            if action == "clear" and kind != "ids":
                continue  # Airflow makes a retry of it, mostly
            held = ApiFault("PATCH", STATE, DEFERRED, hold_s=10, times=1)
            # As if the last heartbeat had been sent just before the act.
            heard = ApiFault("PUT", "/heartbeat$", status=204, times=1, once_met=held)
            yield Round(
                (f"{'' if action == 'clear' else 'mark-'}{action}: deferral held",),
                dag("deferred", kind),
                expect,
                dict(LATER if action == "clear" else DAY),
                api=[held, heard],
                steps=[_acted_while_held(action)],
            )


# --- kills while the server doesn't answer -----------------------------------------------------------------


def _acted_in(begin: Callable[[World, Round], None], what: str, action: str = "failed") -> Steps:
    """Let something go wrong once the task is deferred, and act on the task a moment later."""

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield lambda: world.deferred(one)
        begin(world, one)
        one.act(what)
        yield from when("deferred", action)(world, one)

    return steps


def _line_trouble(kind: str, seconds: float) -> Steps:
    def begin(world: World, one: Round) -> None:
        assert one.line is not None
        one.line.trouble(kind, seconds)

    return _acted_in(begin, f"way to the server: {kind} for {seconds:g} s")


def _server_outage(action: str = "failed", **fault: Any) -> Steps:
    return _acted_in(lambda world, one: server_fault(world, one, **fault), "outage begins", action)


def _kills_in_outages() -> Iterator[Round]:
    """The operation has to end, how long the server may not answer, as long as the triggerer lives."""
    patient = replace(FAILED, settle_s=ALLOWED_LATENESS_S, asked=True)
    faults: dict[str, dict[str, Any]] = {
        "cancel 503 for 40 s": {"kind": "cancel", "status": 503, "for_": 40},
        "503 for 60 s": {"status": 503, "for_": 60},
        "429 Retry-After 5 for 40 s": {"status": 429, "headers": {"Retry-After": "5"}, "for_": 40},
        "cancel 503 twice": {"kind": "cancel", "status": 503, "times": 2},
        "cancel 503 six times": {"kind": "cancel", "status": 503, "times": 6},
        "connections dropped for 40 s": {"drop": True, "for_": 40},
    }
    for name, fault in faults.items():
        yield Round(
            (f"mark-failed: {name}",), dag("deferred"), patient, dict(DAY), steps=[_server_outage(**fault)]
        )
    for kind, seconds in (("refuse", 40), ("drop", 40), ("black hole", 60), ("half an answer", 60)):
        yield Round(
            (f"mark-failed: {kind} for {seconds} s",),
            dag("deferred"),
            patient,
            dict(DAY),
            own_line=True,
            steps=[_line_trouble(kind, seconds)],
        )
    for_40_s: dict[str, Any] = {"status": 503, "for_": 40}
    for kind in ("ids", "sensor"):
        steps = [_server_outage(**for_40_s)]
        yield Round(("mark-failed: 503 for 40 s",), dag("deferred", kind), patient, dict(DAY), steps=steps)
    cleared = replace(RESTARTED, settle_s=ALLOWED_LATENESS_S)
    for ids in ("ids", "noids"):
        yield Round(
            ("clear: 503 for 40 s",),
            dag("deferred", ids),
            cleared,
            {**LATER, "duration": 120},
            steps=[_server_outage("clear", **for_40_s)],
        )


# --- the way to the server ---------------------------------------------------------------------------------


TROUBLES = ("drop", "refuse", "black hole", "half an answer")


def _troubles() -> Iterator[Round]:
    for mode in ("deferred", "running"):
        for kind in TROUBLES:
            steps = [trouble(15, kind)]
            name = f"way to the server: {kind}"
            yield Round((name,), dag(mode), Expect(), {"duration": 30}, own_line=True, steps=steps)


# --- odd answers -------------------------------------------------------------------------------------------

GRACE_S = 30
"""So long after a start a 404 isn't taken for an answer anyway."""

HTML = {"headers": {"Content-Type": "text/html"}, "body": "<html><body>hold the line</body></html>"}
QUOTA = {
    "error": {
        "code": 403,
        "message": "Rate Limit Exceeded",
        "errors": [
            {"domain": "usageLimits", "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded"}
        ],
    }
}
ODD: dict[str, dict[str, Any]] = {
    "HTML 200": {"status": 200, "times": 1, **HTML},
    "cut JSON": {"status": 200, "times": 1, "body": '{"name": "rounds/'},
    "401": {"status": 401, "times": 1},
    "403": {"status": 403, "times": 1},
    "404 HTML for 15 s": {"status": 404, "for_": 15, **HTML},
    "403 rateLimitExceeded": {"status": 403, "times": 2, "body": QUOTA},
    "NaN in metadata": {"times": 2},
}


def _odd_answer(**fault: Any) -> Steps:
    """Let the server answer oddly once the operation was seen running."""

    def steps(world: World, one: Round) -> Iterator[Callable[[], bool]]:
        yield lambda: world.deferred(one, 6.0) or world.running(one)
        yield after(4)
        meant = dict(fault)
        if meant.get("status") == 404:
            yield after(GRACE_S)
        if "status" not in meant:
            name = next(
                each["name"]
                for each in world.cluster.emulator.operations()
                if each["name"].startswith(f"rounds/{one.id}/")
            )
            meant["body"] = f'{{"name": "{name}", "metadata": {{"loss": NaN, "best": -Infinity}}}}'
        server_fault(world, one, kind="get", **meant)
        one.acted += 1

    return steps


def _odd_answers() -> Iterator[Round]:
    """A running operation is never ended, and never given up, because of one answer."""
    for name, fault in ODD.items():
        for mode, kind in (("deferred", "ids"), ("running", "ids"), ("deferred", "sensor")):
            if kind == "sensor" and name not in {"HTML 200", "401"}:
                continue
            yield Round(
                (f"odd answer: {name}",),
                dag(mode, kind),
                Expect(tries=1),
                {"duration": 80 if "404" in name else 45},
                steps=[_odd_answer(**fault)],
            )


# --- connections -------------------------------------------------------------------------------------------


def _wrong_connections() -> Iterator[Round]:
    """A mistyped connection shows in the worker, before anything is started."""
    for mode in ("deferred", "running"):
        expect = Expect(("failed",), starts=(0, 0), error=("AirflowNotFoundException",))
        yield Round(("mistyped connection",), dag(mode), expect, connection="operations_defualt")
