"""
List the operations under a parent, again and again, for all watchers that want the same.

Each round reads as few pages as it takes. Operations that were seen running and aren't listed any more are polled one
by one, so the server need neither filter nor sort; where it lists more than ``MAX_LISTED``, see ``ListStream``.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import MISSING_AGAIN_S
from airflow_provider_operations._protocol.polling import MAX_HINT
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations._protocol.request import InvalidName, Service
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers._watermark import ListSnapshot, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow_provider_operations.hooks import OperationsAsyncHook

__all__ = ["MAX_LISTED", "ListStream", "place"]

log = logging.getLogger(__name__)

PAGE_SIZE = 500
MAX_PAGES = 50
MAX_LISTED = 3000
"""So many operations are read in one round, in as many pages as the server makes of them."""

MAX_RUNNING = 3000
"""So many running operations are watched."""

MAX_ASKED = 100
"""So many operations are polled one by one in one round."""

THOROUGH_EVERY = 100
"""After so many rounds one reads the list to its end again, even if nothing is new."""

REFUSED_PAUSE_S = 60.0
"""Shortest pause after a refusal, which doesn't pass by itself."""


@dataclass
class _Listed:
    """
    A list as far as it was read.

    :param whole: it was read to its end.
    :param enough: what follows was done in an earlier round already.
    """

    seen: dict[str, Seen] = field(default_factory=dict)
    whole: bool = False
    enough: bool = False
    _descents: int = 0
    _ordered: bool = True
    _last_s: float | None = None

    def add(self, page: list[Seen]) -> None:
        """Take a page in."""
        for seen in page:
            self.seen[seen.name] = seen
            created_s, last_s = seen.created_epoch_s, self._last_s
            if created_s is None or (last_s is not None and created_s > last_s):
                self._ordered = False
            elif last_s is not None and created_s < last_s:
                self._descents += 1
            self._last_s = created_s

    @property
    def newest_first(self) -> bool:
        """Whether the operations come in the order in which they were made, the last one first."""
        return self._ordered and self._descents > 0


@dataclass(frozen=True)
class _Problem:
    """Why a round brought nothing; ``transient``: it passes by itself."""

    text: str
    transient: bool
    pause_s: float = 0.0


class ListStream:
    """
    The snapshots for all watchers with the same key: Airflow's producer of a shared stream.

    The first round reads the list to its end, but no more than ``MAX_LISTED`` operations. Where they come newest
    first, by their ``createTime``, later rounds end with the first page that brings nothing new. Where there are
    more than ``MAX_LISTED``, those that run are listed by ``done=false`` too; and where they aren't newest
    first, only these are from then on, so that one that begins and ends between two rounds isn't noticed.

    :param hook_arguments: of ``OperationsAsyncHook``.
    """

    def __init__(
        self, parent: str, filter_: str | None, poke_interval_s: float, hook_arguments: dict[str, Any]
    ) -> None:
        self.parent = parent
        self.filter = filter_
        self.poke_interval_s = poke_interval_s
        self._hook_arguments = hook_arguments
        self._where = place(parent, hook_arguments["operations_conn_id"])
        self._running: dict[str, None] = {}
        """Seen running, and not done yet; those polled last come last."""
        self._over: dict[str, None] = {}
        """Seen done; those seen last come last."""
        self._missing_since: dict[str, float] = {}
        """By name: since when polls of an operation bring only 404s without a readable error."""
        self._looks_until_thorough = 0
        self._newest_first = False
        """As the last thorough round has shown."""
        self._running_only = False
        self._running_filter: str | None = f"{filter_} AND done=false" if filter_ else "done=false"
        self._trouble: str | None = None
        self._hook: OperationsAsyncHook | None = None

    # --- what Airflow asks of a producer ---------------------------------------------------------------------

    async def open_stream(self) -> AsyncIterator[tuple[ListSnapshot, ListSnapshot]]:
        """List for ever; whatever goes wrong is logged and tried again."""
        # The first import loads two HTTP clients, which takes too long for the event loop.
        hooks = await asyncio.to_thread(
            importlib.import_module, "airflow_provider_operations.hooks.asynchronous"
        )
        async with hooks.OperationsAsyncHook(**self._hook_arguments) as hook:
            self._hook = hook
            while True:
                snapshot = await self._look(hook)
                pause_s = self.poke_interval_s * (1 - 0.1 * random.random())  # noqa: S311  no secret
                if isinstance(snapshot, _Problem):
                    self._in_trouble(snapshot)
                    least_s = snapshot.pause_s if snapshot.transient else REFUSED_PAUSE_S
                    pause_s = max(pause_s, least_s)
                else:
                    self._out_of_trouble()
                    yield snapshot, snapshot
                await clock.asleep(pause_s)

    async def advance(self, batch: Sequence[Any]) -> None:
        """Note that the events of these snapshots are stored; never raises, as that would end all watchers."""
        for item in batch:
            if item.outcome.failed:  # a watcher may not have sent its events: it sends them again
                continue
            try:
                await item.broker_payload.stored()
            except Exception:
                log.exception("%s: what was told can't be noted", self._where)

    def get_advance_lane(self, _payload: Any) -> None:
        """Return no lane: all snapshots are stored in their order."""
        return

    async def aclose(self) -> None:
        """Close the hook, which leaves its session."""
        if self._hook is not None:
            await self._hook.close()

    # --- one round ---------------------------------------------------------------------------------------------

    async def _look(self, hook: OperationsAsyncHook) -> ListSnapshot | _Problem:
        try:
            listed = await self._list(hook)
            if isinstance(listed, CallFailure):
                hint = listed.retry_after
                pause_s = 0.0 if hint is None else min(hint, MAX_HINT).total_seconds()
                text = f"{listed.problem}, {listed.status.code_name}"
                if listed.status.message and listed.status.message != listed.problem:
                    text += f": {listed.status.message}"
                return _Problem(text, listed.transient, pause_s)
            await self._ask_for_missing(hook, listed.seen)
        except Exception as error:  # looking up the connection fails in ways of any secrets backend
            return _Problem(f"{type(error).__name__}: {error}", transient=False)
        self._looks_until_thorough = THOROUGH_EVERY if self._thorough else self._looks_until_thorough - 1
        self._note(listed.seen)
        return ListSnapshot(
            listed.seen,
            tuple(self._running),
            whole=listed.whole and not self._running_only,
            thorough=not listed.enough,
            ask_for=self._ask_for,
            look_thoroughly=self._look_thoroughly,
        )

    @property
    def _thorough(self) -> bool:
        return self._looks_until_thorough == 0

    def _look_thoroughly(self) -> None:
        self._looks_until_thorough = 0

    async def _list(self, hook: OperationsAsyncHook) -> _Listed | CallFailure:
        if self._running_only:
            return await self._read(hook, self._running_filter)
        listed = await self._read(hook, self.filter)
        if isinstance(listed, CallFailure):
            return listed
        if not listed.enough:
            self._newest_first = listed.newest_first
        if listed.whole or listed.enough or self._running_filter is None:
            return listed
        if self._newest_first and not self._thorough:  # thousands of new ones
            return listed
        running = await self._read(hook, self._running_filter)
        if isinstance(running, CallFailure):
            if running.transient:
                return running
            log.warning(
                "%s: there are more than %d, which are too many to be read, and they can't be filtered by %r (%s); "
                "only the first %d are watched. Give a filter that lists fewer",
                self._where, MAX_LISTED, self._running_filter, running.problem, MAX_LISTED,
            )  # fmt: skip
            self._running_filter = None
            return listed
        listed.seen.update(running.seen)
        if not self._newest_first:
            self._running_only = True
            log.warning(
                "%s: there are more than %d, which are too many to be read, and they aren't listed newest first; "
                "from now on those that run are listed (%r), and one that begins and ends between two looks isn't "
                "noticed. A filter that lists fewer helps",
                self._where, MAX_LISTED, self._running_filter,
            )  # fmt: skip
        return listed

    async def _read(self, hook: OperationsAsyncHook, filter_: str | None) -> _Listed | CallFailure:
        """Read pages until nothing new is to be expected."""
        listed = _Listed()
        token: str | None = None
        for _ in range(MAX_PAGES):
            page = await hook.list_page(self.parent, filter_, PAGE_SIZE, token)
            if isinstance(page, CallFailure):
                return page
            operations, following = page
            seen = await asyncio.to_thread(_seen_of, operations)
            listed.add(seen)
            if not following or following == token:
                listed.whole = True
                break
            token = following
            old = bool(seen) and all(each.outcome is not None and each.name in self._over for each in seen)
            if old and self._newest_first and not self._thorough:
                listed.enough = True
                break
            if len(listed.seen) >= MAX_LISTED:
                break
        return listed

    async def _ask_for_missing(self, hook: OperationsAsyncHook, seen: dict[str, Seen]) -> None:
        """Poll those that were running and aren't listed any more, at most ``MAX_ASKED`` of them."""
        missing = [name for name in self._running if name not in seen][:MAX_ASKED]
        answers = await asyncio.gather(*(hook.poll(name) for name in missing))
        for name, answer in zip(missing, answers, strict=True):
            del self._running[name]
            if isinstance(answer, Operation):
                # By the name that it was asked for by, whatever the answer says.
                seen[name] = Seen.of(_named(answer, name))
            elif self._is_gone(name, answer):
                log.warning(
                    "%s: the server has forgotten %s before it told how it ended",
                    self._where, one_line(name, 300),
                )  # fmt: skip
            else:
                self._running[name] = None

    def _is_gone(self, name: str, failure: CallFailure) -> bool:
        """Tell whether there is no such operation: the service says so, or two 404s that may be a proxy's."""
        since_s = self._missing_since.pop(name, clock.now())
        if failure.says_missing or (failure.missing and clock.now() - since_s >= MISSING_AGAIN_S):
            return True
        if failure.missing:
            self._missing_since[name] = since_s
        return False

    def _note(self, seen: dict[str, Seen]) -> None:
        for each in seen.values():
            self._missing_since.pop(each.name, None)
            if each.outcome is None:
                self._running.setdefault(each.name)
            else:
                self._running.pop(each.name, None)
                self._over.pop(each.name, None)
                self._over[each.name] = None
        for names, most in ((self._running, MAX_RUNNING), (self._over, 2 * MAX_LISTED)):
            while len(names) > most:
                del names[next(iter(names))]

    def _ask_for(self, name: str) -> None:
        if len(self._running) < MAX_RUNNING and _is_askable(name):
            self._running.setdefault(name)

    # --- what the log says ---------------------------------------------------------------------------------------

    def _in_trouble(self, problem: _Problem) -> None:
        text = one_line(problem.text)
        if self._trouble is None or (not problem.transient and text != self._trouble):
            log.warning("%s: no answer (%s); asking again until there is one", self._where, text)
        self._trouble = text

    def _out_of_trouble(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("%s: the server answers again", self._where)


def place(parent: str, conn_id: str) -> str:
    """Return what the log calls the operations that are watched."""
    return f"operations under {parent!r} by connection {conn_id!r}"


def _seen_of(operations: list[Operation]) -> list[Seen]:
    """Keep the little that is needed; in a thread, as it reads all metadata."""
    return [Seen.of(operation) for operation in operations if _is_askable(operation.name)]


def _is_askable(name: str) -> bool:
    try:
        _SERVICE.get_operation(name)
    except InvalidName:
        return False
    return True


def _named(operation: Operation, name: str) -> Operation:
    return operation if operation.name == name else replace(operation, name=name)


_SERVICE = Service("http://localhost")
"""Only to check names."""
