"""The demo leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def _belong_to(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR", "").startswith(str(folder)):
                found.append(process)
    return found


@pytest.mark.airflow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_while_airflow_starts(tmp_path: Path, number: signal.Signals) -> None:
    """However it is ended, and be it twice, no process and no file stays; the exit code says by which signal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tooling.harness.demo", "--once"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("airflow-operations-*/logs")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        time.sleep(1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    assert "Traceback" not in output
    assert output.splitlines()[-1] == "Ending Airflow and the operations server ..."
    assert list(tmp_path.iterdir()) == []
    assert _belong_to(tmp_path) == []
