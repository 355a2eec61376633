"""Airflow's task state store, in which a task keeps its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_provider_operations._airflow.states import is_last_try
from airflow_provider_operations._lifecycle.record import RECORD_KEY, Record, State

__all__ = ["Records"]


class Records:
    """
    The record of one task instance; without a state store, it lives only as long as this process.

    :param context: the task's context.
    :param key: of the record in the store.
    """

    def __init__(self, context: Any, log: Any, key: str = RECORD_KEY) -> None:
        self._store: Any = context.get("task_state_store")
        self._log = log
        self._key = key
        ti = context["ti"]
        self.max_tries: int = getattr(ti, "max_tries", 0) or 0
        self.try_number: int = getattr(ti, "try_number", 1) or 1
        self.last_try = is_last_try(ti)
        """Whether Airflow retries no more after this try."""
        self.current: Record | None = None
        self.stored: State | None = None
        """The state of the record that the store has."""

    @property
    def kept(self) -> bool:
        """Whether there is a store to keep records in."""
        return self._store is not None

    def read(self) -> Record | None:
        """Return the record that an earlier try has left, if any."""
        value = None if self._store is None else self._store.get(self._key)
        self.current = None if value is None else Record.from_json(value)
        self.stored = None if self.current is None else self.current.state
        return self.current

    def write(self, record: Record) -> None:
        """Replace the record; raises what the store raises."""
        self.current = record
        if self._store is not None:
            self._store.set(self._key, record.to_json(), retention=_never_expire())
            self.stored = record.state

    def close(self, state: State, *, final: bool = False) -> None:
        """
        Store that the result or failure was delivered; if that fails, the next try asks the server.

        :param final: whether it is a failure for which no retry helps.
        """
        try:
            record = self.current or self.read()
            # Of a start that has started nothing, there is nothing to deliver again.
            if record is not None and record.state is not State.REJECTED:
                self.write(replace(record, state=state, final=final))
        except Exception:  # whatever the store raises: the result counts more than the note
            self._log.warning("could not note that the operation's end was %s", state.value, exc_info=True)


def _never_expire() -> Any:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return NEVER_EXPIRE
