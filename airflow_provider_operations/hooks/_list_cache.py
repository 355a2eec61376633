"""Operations under one parent, watched by listing them: one request for many instead of one for each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from airflow_provider_operations._protocol.response import CallFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_operations.operation import Operation

__all__ = ["ListCache", "parent_of"]

log = logging.getLogger(__name__)

PAGE_SIZE = 500
MAX_PAGES = 10
"""With more pages of running operations it's cheaper to poll those that are watched."""

MISSES_TOLERATED = 3
"""After so many lists that lack a running operation, and none that had one, the server seems not to list them."""

MAX_KEPT = 2000
"""So many operations of a list are kept; of those that follow, only the ones that are waited for."""

WANTED_S = 3600.0
"""An operation that nobody has asked for in so long isn't waited for any more."""

GIVEN_UP_S = 600.0
"""How long a list isn't used after it was given up; then it is tried again, as a proxy may have answered."""

ReadPage = tuple[list["Operation"], str] | CallFailure


def parent_of(name: str) -> str | None:
    """Return the parent under which an operation is listed; ``None``: its name has no such form."""
    parent, operations, _ = f"/{name}".rpartition("/operations/")
    return parent.removeprefix("/") if operations else None


class ListCache:
    """
    A parent's list as it was last read; it is read again for whoever needs a younger one.

    :param ask: reads one page: its operations and the token of the next, or what went wrong.
    """

    def __init__(self, parent: str, ask: Callable[[str, int, str | None], Awaitable[ReadPage]]) -> None:
        self.parent = parent
        self._given_up_until_s = float("-inf")
        self._given_up: set[str] = set()
        """Reasons for giving the list up that were logged already."""
        self._ask = ask
        self._seen: dict[str, Operation] = {}
        """The operations as listed, by name."""
        self._wanted: dict[str, float] = {}
        """When each was asked for last, by the loop's clock."""
        self._asked_s = float("-inf")
        self._under_way: asyncio.Task[CallFailure | None] | None = None
        self._hit = False
        self._missed_by: set[float] = set()
        """The lists that lacked a running operation, by the time at which they were asked for."""

    async def look(self, name: str, max_age_s: float) -> Operation | CallFailure | None:
        """
        Return the operation as listed; ``None`` where it isn't, and has to be polled alone.

        :param max_age_s: a list that was asked for longer ago than this is asked for again.
        """
        if self._is_given_up:
            return None
        now_s = asyncio.get_running_loop().time()
        self._wanted[name] = now_s
        if now_s - self._asked_s > max_age_s:
            if self._under_way is None or self._under_way.done():
                self._under_way = asyncio.create_task(self._list())
            # Shielded: if one who waits for the list is cancelled, it goes on for the others.
            failure = await asyncio.shield(self._under_way)
            if failure is not None:
                return failure
        found = self._seen.get(name)
        self._hit = self._hit or found is not None
        return found

    def missed(self) -> None:
        """Note that an operation is running and was not listed."""
        if self._is_given_up or self._hit:
            return
        self._missed_by.add(self._asked_s)
        if len(self._missed_by) >= MISSES_TOLERATED:
            self._give_up("it doesn't hold operations that are running")

    async def _list(self) -> CallFailure | None:
        asked_s = asyncio.get_running_loop().time()
        self._wanted = {name: at_s for name, at_s in self._wanted.items() if asked_s - at_s < WANTED_S}
        seen: dict[str, Operation] = {}
        token: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._ask(self.parent, PAGE_SIZE, token)
            if isinstance(page, CallFailure):
                if page.transient:
                    return page
                self._give_up(f"{page.problem}, {page.status.code_name}")
                return None
            operations, token = page
            for operation in operations:
                if len(seen) < MAX_KEPT or operation.name in self._wanted:
                    seen[operation.name] = operation
            if not token:
                self._seen, self._asked_s = seen, asked_s
                return None
        self._give_up(f"more than {MAX_PAGES} pages match the filter")
        return None

    @property
    def _is_given_up(self) -> bool:
        return asyncio.get_running_loop().time() < self._given_up_until_s

    def _give_up(self, why: str) -> None:
        self._given_up_until_s = asyncio.get_running_loop().time() + GIVEN_UP_S
        self._seen.clear()
        self._missed_by.clear()
        if why not in self._given_up:
            self._given_up.add(why)
            log.warning(
                "the list of operations under %r is of no use (%s); each is asked for alone, and the list tried again "
                "in %d min",
                self.parent, why, GIVEN_UP_S // 60,
            )  # fmt: skip
