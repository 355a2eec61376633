"""``airflow operations reap``: a sweep, or one after another, and what is printed of them."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._sweep.database import Database, NoSweepError
from airflow_provider_operations._sweep.service import Services
from airflow_provider_operations._sweep.sweep import LEFT, Result, Sweep
from airflow_provider_operations.cli.errors import NoDatabase, NoRecords, OrphansLeft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_operations.cli.output import Output

__all__ = ["sweep", "sweep_again_and_again"]


def sweep(out: Output, *, dry_run: bool) -> None:
    """
    Sweep once.

    :raises OrphansLeft: operations run on, or may.
    :raises NoRecords: Airflow has none that could be read.
    :raises NoDatabase: it doesn't answer.
    """
    results = _sweep(_database(out), out, dry_run=dry_run)
    left = sum(result.fate in LEFT for result in results)
    if left:
        raise OrphansLeft(f"operations that run on, or may: {left}")


def sweep_again_and_again(out: Output, every_s: float, *, dry_run: bool) -> NoReturn:
    """
    Sweep until the process is told to end; what fails is said, and done again the next time.

    :raises NoRecords: Airflow has none that could be read.
    """
    with _ends_on_sigterm():
        database = _database(out)
        while True:
            began = clock.now()
            try:
                _sweep(database, out, dry_run=dry_run, every_s=every_s)
            except NoDatabase as error:
                out.note(str(error))
            clock.sleep(min(max(began + every_s - clock.now(), 1.0), every_s))  # a clock may be set back


def _database(out: Output) -> Database:
    try:
        database = Database()
        if database.kept_elsewhere():
            out.note(
                "workers keep records in a backend of their own ([workers] state_store_backend), which a sweep can't read: "
                "the operations of those are not looked after"
            )
    except NoSweepError as error:
        raise NoRecords(str(error)) from error
    except SQLAlchemyError as error:
        raise NoDatabase(_said(error)) from error
    return database


def _sweep(database: Database, out: Output, *, dry_run: bool, every_s: float = 0.0) -> list[Result]:
    logging.getLogger("airflow_provider_operations").setLevel(logging.INFO)
    services = Services()
    one = Sweep(database, services, dry_run=dry_run, every_s=every_s)
    try:
        results = one.run()
    except SQLAlchemyError as error:
        raise NoDatabase(_said(error)) from error
    finally:
        services.close()
    out.reaped([_row(result) for result in results])
    counts = Counter(result.fate.value for result in results)
    said = ", ".join(f"{count} {fate}" for fate, count in sorted(counts.items())) or "no orphans"
    out.note(f"swept: {one.looked} looked at, {said}")
    return results


def _row(result: Result) -> dict[str, Any]:
    return {**asdict(result), "fate": result.fate.value}


def _said(error: SQLAlchemyError) -> str:
    # Its whole text has the query and its parameters.
    why = f"{type(error).__name__}: {error.orig}" if isinstance(error, DBAPIError) else type(error).__name__
    if _LACKS_A_TABLE.search(why):
        return f"Airflow's database lacks a table ({why}): is this its AIRFLOW_HOME, and was airflow db migrate run?"
    return f"Airflow's database doesn't answer: {why}"


_LACKS_A_TABLE = re.compile("no such table|relation .* does not exist|Table .* doesn't exist")
"""As SQLite, PostgreSQL and MySQL say it; a database or a user may not exist, either."""


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """End with code 0 when told to; the first process of a container wouldn't end at all."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
