"""
Where operations, request ids and the journal are kept: SQLite, in memory or in a file.

Each method is one short transaction. What was committed survives SIGKILL of the process.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .script import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, script TEXT NOT NULL,
    target TEXT NOT NULL, verb TEXT NOT NULL, started_epoch_s REAL NOT NULL,
    cancelled_epoch_s REAL, deleted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS request_ids (
    id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, method TEXT NOT NULL,
    path TEXT NOT NULL, query TEXT NOT NULL, headers TEXT NOT NULL, body TEXT NOT NULL,
    operation TEXT, status INTEGER, fault TEXT, deduplicated INTEGER NOT NULL DEFAULT 0
);
"""
_RECORD = (
    "SELECT seq, name, script, target, verb, started_epoch_s, cancelled_epoch_s, deleted FROM operations"
)


class RequestId(NamedTuple):
    """
    A request that was served under an id.

    :param id: UUID in lower case.
    :param fingerprint: digest of the request; another request must not use the same id.
    """

    id: str
    fingerprint: str


class Store:
    """
    The state of one emulator.

    Used by one thread at a time.

    :param file: an SQLite file; ``None`` keeps everything in memory.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self._db = sqlite3.connect(":memory:" if file is None else str(file), check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        # WAL with NORMAL loses nothing when the process dies, only when the machine does.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def reset(self) -> None:
        """Forget everything; the journal's numbers go on."""
        with self._db:
            for table in ("operations", "request_ids", "journal"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  names of our own tables

    def add_operation(self, record: Record, request_id: RequestId | None) -> None:
        """
        Keep a new operation and the request id it was started under, both or neither.

        :raises sqlite3.IntegrityError: the name is taken.
        """
        with self._db:
            self._db.execute(
                "INSERT INTO operations (name, script, target, verb, started_epoch_s) VALUES (?, ?, ?, ?, ?)",
                (record.name, record.script, record.target, record.verb, record.started_epoch_s),
            )
            if request_id is not None:
                self._db.execute("INSERT INTO request_ids VALUES (?, ?, ?)", (*request_id, record.name))

    def find(self, names: Sequence[str]) -> Record | None:
        """Return the operation with the first of these names that is taken, deleted ones too."""
        for name in names:
            row = self._db.execute(f"{_RECORD} WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return _record(row)
        return None

    def operations(self, after: int = 0) -> Iterator[Record]:
        """Yield the operations that are not deleted and started after the ``after``-th, in order."""
        query = f"{_RECORD} WHERE seq > ? AND NOT deleted ORDER BY seq"
        return map(_record, self._db.execute(query, (after,)))

    def set_cancelled(self, name: str, epoch_s: float) -> None:
        """Note when an operation was cancelled."""
        with self._db:
            self._db.execute("UPDATE operations SET cancelled_epoch_s = ? WHERE name = ?", (epoch_s, name))

    def set_deleted(self, name: str) -> None:
        """Mark an operation as deleted."""
        with self._db:
            self._db.execute("UPDATE operations SET deleted = 1 WHERE name = ?", (name,))

    def find_request(self, request_id: str) -> tuple[RequestId, Record] | None:
        """Return the request served under an id and the operation it started, which may be deleted."""
        query = "SELECT id, fingerprint, name FROM request_ids WHERE id = ?"
        row = self._db.execute(query, (request_id,)).fetchone()
        started = None if row is None else self.find([row[2]])
        return None if started is None else (RequestId(row[0], row[1]), started)

    def add_entry(self, entry: dict[str, Any]) -> int:
        """Append to the journal and return the entry's number."""
        packed = tuple(json.dumps(entry[key]) for key in ("query", "headers", "body"))
        plain = (entry["time"], entry["kind"], entry["method"], entry["path"])
        with self._db:
            cursor = self._db.execute(
                "INSERT INTO journal (time, kind, method, path, query, headers, body, operation)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*plain, *packed, entry["operation"]),
            )
        return cursor.lastrowid or 0

    def finish_entry(self, seq: int, entry: dict[str, Any]) -> None:
        """Add to an entry what is known once the request is answered."""
        values = (entry["operation"], entry["status"], entry["fault"], entry["deduplicated"], seq)
        with self._db:
            self._db.execute(
                "UPDATE journal SET operation = ?, status = ?, fault = ?, deduplicated = ? WHERE seq = ?",
                values,
            )

    def journal(self, kind: str | None = None, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the journal in order of arrival, or only one kind's or one operation's entries."""
        cursor = self._db.execute(
            "SELECT * FROM journal WHERE kind = COALESCE(?, kind) AND (? IS NULL OR operation = ?) ORDER BY seq",
            (kind, operation, operation),
        )
        keys = [column[0] for column in cursor.description]
        return [_entry(dict(zip(keys, row, strict=True))) for row in cursor]

    def clear_journal(self) -> None:
        """Forget the journal; its numbers go on."""
        with self._db:
            self._db.execute("DELETE FROM journal")


def _record(row: tuple[Any, ...]) -> Record:
    *kept, deleted = row
    return replace(Record(*kept), deleted=bool(deleted))


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    unpacked = {key: json.loads(row[key]) for key in ("query", "headers", "body")}
    return row | unpacked | {"deduplicated": bool(row["deduplicated"])}
