from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.__main__ import main
from airflow_provider_operations._protocol import clock
from airflow_provider_operations.emulator import Emulator
from tests.emulator.raw import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "s3cr3t-bearer-token"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.stdout)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that passes only when the command sleeps, for command and emulator."""
    time = Clock()
    monkeypatch.setattr(clock, "now", time)

    def sleep(seconds: float) -> None:
        time.now += seconds

    monkeypatch.setattr(clock, "sleep", sleep)
    return time


@pytest.fixture
def emulator(time: Clock, connect: Callable[..., None]) -> Iterator[Emulator]:
    """An emulator behind the default connection."""
    with Emulator(clock=time) as emulator:
        connect(emulator.url)
        yield emulator


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the default connection."""

    def connect(host: str, **fields: Any) -> None:
        fields = {"conn_type": "operations", "host": host, "password": SECRET, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(fields))

    return connect


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""
    # The command sets it for good; this takes it back.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    # Airflow before 3.1 prints logs, also those of the emulator in this process; and Airflow 2 warns once of a key
    # that every installation has, and the tests don't.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("airflow.models.crypto").setLevel(logging.ERROR)

    def run(*argv: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return run
