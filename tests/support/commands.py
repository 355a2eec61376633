"""Commands, run in this process."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable


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
