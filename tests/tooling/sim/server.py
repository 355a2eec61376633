"""The simulated service: operations, request ids, outages and lost answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from .forms import OUTLASTS
from .kernel import BEGIN_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .forms import Form
    from .world import World

__all__ = ["ODD", "Lost", "Operation", "Server"]

RUNS_S = ((1.0, 5.0), (5.0, 60.0), (60.0, 160.0))
"""So long an operation runs, from and to: it may end in any state of its task, such as while that waits for a retry."""

STRANGER = "somebody else"
"""Who has begun what a sensor waits for, and what a task follows whose start is refused."""

ENDLESS_S = 3000.0
"""An operation whose task somebody ends runs for so long, if nobody cancels it."""

_PAGE = "<html><body>hold the line</body></html>"
ODD: dict[str, tuple[int, Any]] = {
    "page": (200, _PAGE),
    "missing page": (404, _PAGE),
    "forbidden": (403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "not you"}}),
    "no token": (401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "who are you"}}),
}
"""What a proxy or a service in trouble answers to all but a start, by the trouble's name."""

_NO_CANCEL = {"error": {"code": 501, "status": "UNIMPLEMENTED", "message": "there is no cancel"}}
_NOT_NOW = {"error": {"code": 409, "status": "ABORTED", "message": "it is just beginning"}}
_EXISTS = {"error": {"code": 409, "status": "ALREADY_EXISTS", "message": "things/x is there"}}
_EXHAUSTED = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "too many requests"}}
_UNAVAILABLE = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "not now"}}
_MISSING = {"error": {"code": 404, "status": "NOT_FOUND", "message": "no such operation"}}


class Lost(Exception):
    """No answer came; ``sent`` tells whether the request may have been carried out."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("refused" if not sent else "reset")
        self.sent = sent


@dataclass
class Operation:
    """An operation of the service."""

    name: str
    started_s: float
    ends_s: float
    request_id: str = ""
    begun_by: str = ""
    """The process that has started it."""
    code: int = 0
    """Of the error with which it ends; 0: none."""
    metadata: dict[str, str] = field(default_factory=dict)
    answered: bool = False
    """Whether a process knows that it was started."""
    answer_lost: bool = False
    """Whether the answer to its start was lost once."""
    cancelled_s: float | None = None
    cancels: list[float] = field(default_factory=list)
    cancelled_by: set[str] = field(default_factory=set)
    """The processes whose cancels had an effect."""
    forgotten: bool = False
    seen_s: dict[str, float] = field(default_factory=dict)
    """When each process was told last how the operation stands."""

    @property
    def ended_s(self) -> float:
        """When it ends, as far as is known now."""
        return self.ends_s if self.cancelled_s is None else min(self.ends_s, self.cancelled_s)

    def resource(self, now: float) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self._resource(now), **({"metadata": self.metadata} if self.metadata else {})}

    def _resource(self, now: float) -> dict[str, Any]:
        if self.cancelled_s is not None and now >= self.cancelled_s:
            return {"name": self.name, "done": True, "error": {"code": 1, "message": "cancelled"}}
        if now < self.ends_s:
            return {"name": self.name, "done": False}
        if self.code:
            return {"name": self.name, "done": True, "error": {"code": self.code, "message": "failed"}}
        return {"name": self.name, "done": True, "response": {"of": self.name}}


class Server:
    """What the service knows, and how it is out of order."""

    def __init__(self, world: World, form: Form) -> None:
        self._world = world
        self._form = form
        self.operations: list[Operation] = []
        self.trouble: str | None = None
        """
        ``refused``, ``unavailable`` (503), ``throttles`` (429), ``hole``, in which requests vanish, ``no cancel``,
        ``no cancel yet``, or one of ``ODD``.
        """
        self.loses_next_answer = self.lost_in_gateway = False
        """Whether the next answer gets lost; and whether a gateway says 503 then, and not the network."""
        self._refused = 0
        self.slow_s = 0.0
        """So much longer answers take."""
        self.unknown_for_s = 0.0
        """For so long after its start the service doesn't know an operation."""

    def request(
        self, method: str, url: str, body: bytes | None, done: Callable[[int | Lost, bytes], None]
    ) -> None:
        """Take a request on its way; what becomes of it comes later, if at all."""
        world, kernel = self._world, self._world.kernel
        process = kernel.current
        assert process is not None
        parts = urlsplit(url)
        verb = parts.path.rpartition(":")[2] if ":" in parts.path.rpartition("/")[2] else "get"
        verb = "list" if parts.path == "/v1/operations" else verb
        what = f"{method} {verb}"
        world.judge.acts(process, verb)
        world.hand_over(process, what, "leaves")
        kernel.check_alive(process)

        def answer(status: int | Lost, text: Any) -> None:
            def arrived() -> None:
                world.hand_over(process, what, f"is answered: {status}")
                begun = self._named(text.get("name", "")) if verb == "run" else None
                if begun is not None and not process.dead:
                    begun.answered = True
                done(status, (text if isinstance(text, str) else json.dumps(text)).encode())

            kernel.at(world.latency() + self.slow_s, arrived, process)

        def arrive() -> None:
            if verb == "cancel" and self.trouble not in {None, "no polls", "no cancel", "no cancel yet"}:
                world.judge.cancel_unanswered(process)
            if self.trouble == "refused":
                answer(Lost(sent=False), {})
            elif self.trouble == "unavailable":
                answer(503, _UNAVAILABLE)
            elif self.trouble == "throttles":
                answer(429, _EXHAUSTED)
            elif self.trouble in ODD and verb != "run" and (verb != "list" or "page" in self.trouble):
                answer(*ODD[self.trouble])
            elif self.trouble == "no polls" and verb == "get":
                answer(*ODD["forbidden"])
            elif self.trouble == "no cancel" and verb == "cancel":
                world.judge.cancel_refused(process)
                answer(501, _NO_CANCEL)
            elif self.trouble == "no cancel yet" and verb == "cancel":
                world.judge.cancel_refused(process, for_now=True)
                answer(409, _NOT_NOW)
            elif self.trouble != "hole":
                status, text = self._carry_out(verb, parts.path, parse_qs(parts.query), process.name)
                world.hand_over(process, what, "is carried out")
                if self.loses_next_answer:
                    self.loses_next_answer = False
                    self._world.judge.server_was_away()
                    if verb == "run" and (begun := self._named(text.get("name", ""))) is not None:
                        begun.answer_lost = True
                    answer(*((503, _UNAVAILABLE) if self.lost_in_gateway else (Lost(sent=True), {})))
                else:
                    answer(status, text)

        kernel.at(world.latency(), arrive)

    def _carry_out(
        self, verb: str, path: str, query: dict[str, list[str]], who: str
    ) -> tuple[int, dict[str, Any]]:
        now = self._world.kernel.now
        if verb == "run":
            (request_id,) = query.get("requestId", [""])
            known = [one for one in self.operations if request_id and one.request_id == request_id]
            if known and self._form.request_ids:
                return 200, known[0].resource(now)
            if self._form.foreign and any(one.begun_by == STRANGER for one in self.running()):
                return 409, _EXISTS
            if self._refused < self._form.refused:
                self._refused += 1
                return 409, {"error": {"code": 409, "status": "ABORTED", "message": "another one is running"}}
            self.begin(who, request_id)
            return 200, self.operations[-1].resource(now)
        if verb == "list":
            if not self.running():
                self._world.judge.nothing_to_follow()
            return 200, {"operations": [one.resource(now) for one in self.operations if not one.forgotten]}
        name = path.removeprefix("/v1/").partition(":")[0]
        found = self._named(name)
        if found is None or found.forgotten or self._is_too_new(found):
            return 404, _MISSING
        if verb == "cancel":
            self._world.judge.cancel_sent(found, who)
            self._world.kernel.note("server", f"{name} is to be cancelled, says {who}")
            if not found.resource(now)["done"]:
                found.cancels.append(now)
                found.cancelled_by.add(who)
                found.cancelled_s = found.cancelled_s or now + self._world.kernel.random.choice(
                    [0.0, 0.5, 8.0]
                )
                self._world.judge.cancelled(found, who)
            return 200, {}
        found.seen_s[who] = now
        self._world.judge.polled(found, who)
        return 200, found.resource(now)

    def begin(self, who: str, request_id: str = "") -> None:
        """Begin an operation."""
        now = self._world.kernel.now
        name = f"operations/{len(self.operations) + 1}"
        number = len(self.operations)
        ends = self._form.ends[number] if number < len(self._form.ends) else 0
        runs_s = ENDLESS_S if ends == OUTLASTS else self._world.runs_s
        if who == STRANGER and self._form.foreign_runs_s is not None:
            runs_s = self._form.foreign_runs_s
        metadata = {"target": "things/x", "verb": "run"} if self._form.foreign else {}
        self.operations.append(Operation(name, now, now + runs_s, request_id, who, max(ends, 0), metadata))
        self._world.kernel.note("server", f"{name} begins, for {who}")
        self._world.judge.begun(self.operations[-1])
        if self._world.judge.is_to_end(self.operations[-1]):
            self.make_endless()

    def _named(self, name: str) -> Operation | None:
        return next((one for one in self.operations if one.name == name), None)

    def running(self) -> list[Operation]:
        """Return the operations that run now."""
        now = self._world.kernel.now
        return [one for one in self.operations if not (one.forgotten or one.resource(now)["done"])]

    def _is_too_new(self, operation: Operation) -> bool:
        own = operation.begun_by != STRANGER  # of another's, nobody knows since when it runs
        return own and self._world.kernel.now - operation.started_s < self.unknown_for_s

    def forget(self) -> None:
        """Lose what is known of the operations so far."""
        for one in self.operations:
            one.forgotten = True

    def make_endless(self) -> None:
        """Let what runs now run on for long, so that an orphan is seen."""
        for one in self.running():
            if not self._world.judge.is_foreign(one):
                one.ends_s = max(one.ends_s, BEGIN_S + ENDLESS_S)
