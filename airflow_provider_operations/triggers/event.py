"""The trigger for asset watchers: an event for each operation under a parent that ends, whoever started it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from airflow.triggers import base
from airflow.triggers.base import TriggerEvent

from airflow_provider_operations._airflow.compat import HAS_ASSET_WATCHERS
from airflow_provider_operations._protocol import clock
from airflow_provider_operations.triggers._arguments import stored_arguments
from airflow_provider_operations.triggers._list_stream import ListStream, place
from airflow_provider_operations.triggers._watermark import OUTCOMES, Checkpoint, UnreadableCheckpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from airflow.triggers.base import BaseEventTrigger as _Base

    from airflow_provider_operations.triggers._watermark import ListSnapshot, Seen
else:
    _Base = base.BaseEventTrigger if HAS_ASSET_WATCHERS else base.BaseTrigger

__all__ = ["OperationsEventTrigger"]

log = logging.getLogger(__name__)

HELD_S = 8.0
"""
How long the last event is held back where several operations have ended.

A DAG's run gets the events up to the time at which the first one was queued. Those that came later, but before the
scheduler made the run, wait for another event, which is the one held back (3.3: the queue has one row for each asset
and DAG, and keeps its first time).
"""

LEAST_POKE_INTERVAL_S = 10.0
"""For the same reason."""

NOTED_EVERY_S = 60.0
"""While no operation ends, the checkpoint is stored at most this often."""

STORE_LIMIT_S = 30.0
"""How long Airflow may take to read or write a checkpoint."""

_IN_KEY = ("operations_conn_id", "base_url", "path_prefix", "error_format", "filter")


class InvalidArgument(TypeError, ValueError):
    """
    An argument that no trigger can have.

    A triggerer makes triggers of what is stored, which a later version of this provider may have written. On a
    ``TypeError`` it fails this one trigger; on anything else the triggerer itself ends, with all its triggers.
    """


class OperationsEventTrigger(_Base):
    """
    Yield an event for each operation under a parent that ends, for an ``AssetWatcher`` (Airflow 3.0).

    The event, ``{"name": str, "done": true, "outcome": "succeeded" | "failed" | "cancelled", "metadata": {...},
    "error": Status}``, is the ``payload`` in the asset event's ``extra``. It is without the response, at most
    8 KiB, and keys that Airflow reserves get a backslash in front.

    On its very first start it ignores what has ended before. From then on (Airflow 3.3) it keeps in the asset's
    state store what it has reported, so that each end is reported once over restarts and failover, and also what
    ended meanwhile. This is stored some seconds after the event: if the triggerer dies in between, its successor
    reports an end twice, rather than not at all. Before 3.3 nothing is kept: each start is a first one.

    Triggers that differ in ``outcome`` and ``operation_type`` only share their requests (Airflow 3.3).

    :param parent: what the operations are listed under: ``projects/p/locations/l``; empty: all.
    :param operations_conn_id: connection of type ``operations``.
    :param base_url: this and the next two: instead of what the connection says.
    :param filter: sent with the list, in the service's own words.
    :param outcome: only those that ``succeeded``, ``failed`` or ``cancelled``.
    :param operation_type: only those with metadata of this type: its full name, or its last parts.
    :param poke_interval: pause between lists, in seconds; at least 10, as an event is delivered to a DAG only when
        Airflow's scheduler has made a run for the one before. Where several have ended, the last one's event
        follows eight seconds later, for the same reason.
    """

    def __init__(
        self,
        parent: str,
        *,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        error_format: int | None = None,
        filter: str | None = None,
        outcome: str | None = None,
        operation_type: str | None = None,
        poke_interval: float = 30.0,
    ) -> None:
        if not HAS_ASSET_WATCHERS:
            raise RuntimeError("OperationsEventTrigger needs Airflow 3.0 or later, which has asset watchers")
        super().__init__()  # type: ignore[no-untyped-call]  # BaseEventTrigger's
        if outcome is not None and outcome not in OUTCOMES:
            raise InvalidArgument(f"outcome is one of {', '.join(OUTCOMES)}, not {outcome!r}")
        if not poke_interval >= LEAST_POKE_INTERVAL_S:
            raise InvalidArgument(
                f"poke_interval is at least {LEAST_POKE_INTERVAL_S:g} s, not {poke_interval!r}"
            )
        self.parent = parent
        self.operations_conn_id = operations_conn_id
        self.base_url = base_url
        self.path_prefix = path_prefix
        self.error_format = error_format
        self.filter = filter
        self.outcome = outcome
        self.operation_type = operation_type
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return path and arguments."""
        arguments = {"parent": self.parent, **stored_arguments(self, OperationsEventTrigger)}
        return "airflow_provider_operations.triggers.OperationsEventTrigger", arguments

    # --- where the snapshots come from -------------------------------------------------------------------------

    def shared_stream_key(self) -> Hashable:
        """Return what is equal for triggers that list the same in the same way: they share the lists."""
        shared = (getattr(self, name) for name in _IN_KEY)
        return ("airflow_provider_operations", self.parent, self.poke_interval, *shared)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return what lists; Airflow calls it when the events made of a snapshot are stored."""
        trigger = cls(**kwargs)
        hook_arguments = {name: getattr(trigger, name) for name in _IN_KEY if name != "filter"}
        return ListStream(trigger.parent, trigger.filter, trigger.poke_interval, hook_arguments)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[ListSnapshot]:
        """Yield snapshots, for an Airflow that doesn't report when events are stored: by the next one they should be."""
        last: ListSnapshot | None = None
        async with aclosing(cls.create_shared_stream_producer(kwargs).open_stream()) as snapshots:
            async for snapshot, _ in snapshots:
                if last is not None:
                    await last.stored()
                last = snapshot
                yield snapshot

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """List for this trigger alone (before Airflow 3.3)."""
        async with aclosing(self.open_shared_stream(self.serialize()[1])) as snapshots:  # type: ignore[type-var]  # a generator
            async for event in self.filter_shared_stream(snapshots):
                yield event

    # --- what is reported ----------------------------------------------------------------------------------------

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[ListSnapshot]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each operation that has ended, once."""
        notes = _Notes(getattr(self, "asset_state_store", None), self._key(), self._where)
        checkpoint: Checkpoint | None = None
        unnoted = False
        async for snapshot in shared_stream:
            if checkpoint is None:
                if not snapshot.thorough:  # it may lack what was done before, as other watchers know that
                    snapshot.look_thoroughly()
                    continue
                checkpoint = await self._remember(notes, snapshot)
                if checkpoint is None:
                    continue
            told = None
            if checkpoint.has_news(snapshot):
                # Another triggerer may have taken over while this one was held up.
                told = await notes.read_or_none()
            before, news = checkpoint.running, checkpoint.news_of(snapshot, told)
            wanted = [seen for seen in news if self._is_wanted(seen)]
            done_with = [seen.name for seen in news if seen not in wanted]
            if news:
                snapshot.on_stored.append(notes.telling(checkpoint, done_with))
            for seen in wanted:
                if seen is wanted[-1] and len(wanted) > 1:
                    await clock.asleep(HELD_S)
                yield TriggerEvent(json.loads(seen.event))
                done_with.append(seen.name)
            unnoted = unnoted or before != checkpoint.running
            if unnoted and not news and clock.now() - notes.written_epoch_s >= NOTED_EVERY_S:
                await notes.write(checkpoint)
                unnoted = False

    async def _remember(self, notes: _Notes, snapshot: ListSnapshot) -> Checkpoint | None:
        """Return the stored checkpoint, or a first one; ``None``: Airflow can't say whether there is one."""
        try:
            checkpoint = await notes.read()
        except Exception as error:  # it may come out of any backend
            notes.in_trouble("can't be read", error)
            return None
        if checkpoint is not None:
            log.info("%s: going on where it was left", self._where)
            return checkpoint
        checkpoint = Checkpoint.beginning_with(snapshot, clock.now())
        log.info(
            "%s: first start, %d are running; reporting what ends from now on%s",
            self._where, len(snapshot.running),
            "" if notes.kept else ". Nothing is kept for a restart, which takes Airflow 3.3 and an asset watcher",
        )  # fmt: skip
        await notes.write(checkpoint)
        return checkpoint

    def _is_wanted(self, seen: Seen) -> bool:
        kind = self.operation_type
        return self.outcome in (None, seen.outcome) and (
            kind is None or seen.kind == kind or seen.kind.endswith(f".{kind}")
        )

    @property
    def _where(self) -> str:
        return place(self.parent, self.operations_conn_id)

    def _key(self) -> str:
        """Return the key of the checkpoint, which doesn't depend on the poke interval."""
        arguments = {name: value for name, value in self.serialize()[1].items() if name != "poke_interval"}
        digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
        return f"airflow_provider_operations.{digest[:16]}"


class _Notes:
    """
    A watcher's checkpoint in the state store of its assets; a store that fails doesn't keep events back.

    :param store: Airflow's accessor of that; ``None``: there is none.
    """

    def __init__(self, store: Any, key: str, where: str) -> None:
        # A watcher of several assets has the same checkpoint in each: an asset may be added or taken away.
        named = getattr(store, "_by_name", None) or {}
        self._stores = [] if store is None else [named[name] for name in sorted(named)] or [store]
        self._key = key
        self._where = where
        self._troubled = False
        self._writing = asyncio.Lock()
        self.written_epoch_s = float("-inf")

    @property
    def kept(self) -> bool:
        """Whether there is a store."""
        return bool(self._stores)

    async def read(self) -> Checkpoint | None:
        """
        Return what was written last; ``None``: nothing that can be read.

        :raises Exception: whatever comes out of the store.
        """
        checkpoint: Checkpoint | None = None
        for store in self._stores:
            async with clock.timeout(STORE_LIMIT_S):
                value = await store.aget(self._key)
            if value is None:
                continue
            try:
                found = Checkpoint.from_json(value)
            except UnreadableCheckpoint as error:
                log.warning("%s: what was noted can't be read, and is left: %s", self._where, error)
                continue
            if checkpoint is None:
                checkpoint = found
            else:
                checkpoint.learn(found)
        return checkpoint

    async def read_or_none(self) -> Checkpoint | None:
        """Return what was written last; nothing where it can't be read now."""
        try:
            return await self.read()
        except Exception as error:  # it may come out of any backend
            self.in_trouble("can't be read", error)
            return None

    async def write(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, with what another has stored meanwhile; after a failure the next write makes up for it."""
        async with self._writing:
            if (other := await self.read_or_none()) is not None:
                checkpoint.learn(other)
            value = checkpoint.to_json()
            try:
                for store in self._stores:
                    async with clock.timeout(STORE_LIMIT_S):
                        await store.aset(self._key, value)
            except Exception as error:  # it may come out of any backend
                self.in_trouble("can't be written", error)
                return
            self.written_epoch_s = clock.now()
            self._troubled = False

    def telling(self, checkpoint: Checkpoint, names: list[str]) -> Any:
        """Return what to call when the events about these operations are stored."""

        async def stored() -> None:
            checkpoint.told(names)
            await self.write(checkpoint)

        return stored

    def in_trouble(self, what: str, error: Exception) -> None:
        """Log a failure of the store, once."""
        if not self._troubled:
            self._troubled = True
            log.warning(
                "%s: what was told %s in Airflow's state store (%s: %s); trying again",
                self._where, what, type(error).__name__, error,
            )  # fmt: skip
