"""What a real Airflow of the bench has around it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.bench.bench import NotMeasured
from tests.tooling.chaos.cluster import temporary_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["database_and_server"]


@contextmanager
def database_and_server() -> Iterator[tuple[str, str]]:
    """
    Run a PostgreSQL and an emulator; yield their URLs.

    :raises NotMeasured: no PostgreSQL is installed.
    """
    try:
        with temporary_postgres() as postgres, EmulatorProcess() as emulator:
            yield postgres.url, emulator.url
    except FileNotFoundError as error:
        raise NotMeasured(str(error)) from None
