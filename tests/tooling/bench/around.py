"""What a real Airflow of the bench has around it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.bench.bench import NotMeasured
from tests.tooling.chaos.cluster import Postgres
from tests.tooling.harness.standalone import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["database_and_server"]


@contextmanager
def database_and_server() -> Iterator[tuple[str, str]]:
    """
    Run a PostgreSQL and an emulator; yield their URLs.

    :raises NotMeasured: no PostgreSQL is installed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "pg"
        data.mkdir()
        postgres = Postgres(data, free_ports(1)[0])
        try:
            postgres.start()
            with EmulatorProcess() as emulator:
                yield postgres.url, emulator.url
        except FileNotFoundError as error:
            raise NotMeasured(str(error)) from None
        finally:
            postgres.stop()
