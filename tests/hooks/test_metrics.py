"""What is told to Airflow's metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat import sdk

from airflow_provider_operations._airflow.compat import TASKS_KEEP_STATE
from airflow_provider_operations.hooks._metrics import Figures
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.raw_requests import start
from tests.support.stats import Stats

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    stats = Stats({"conn_id": "ops"})
    monkeypatch.setattr(sdk, "Stats", stats, raising=False)
    return stats


async def test_a_trigger_that_is_over_has_reported_its_figures(
    real_emulator: Emulator, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger that is over has told its polls, their errors, its delay, and that nothing is watched any more."""
    set_connection(monkeypatch, real_emulator.url, "ops")
    start(real_emulator.url, name="operations/x", duration=0.1)
    real_emulator.script_fault(kind="get", status=503, times=1)
    trigger = OperationTrigger("operations/x", operations_conn_id="ops", poke_interval=0.2)
    [event] = [event async for event in trigger.run()]
    assert json.loads(event.payload["outcome"])["kind"] == "done"
    told = {name: (method, value) for method, name, value in stats.told}
    method, delay = told.pop("operations.detection_delay")
    assert method == "timing"
    assert timedelta() <= delay < timedelta(seconds=60)
    assert told.pop("operations.polls") == ("incr", len(real_emulator.journal("get")))
    assert told == {"operations.poll_errors": ("incr", 1), "operations.watched": ("gauge", 0)}


def test_sent_every_ten_seconds(stats: Stats, moved: MovedClock) -> None:
    """Thousands of polls are told as one number."""
    figures = Figures("ops")
    for _ in range(1001):
        figures.polled(failed=False, throttled_s=0.5)
    assert stats.told == []
    moved.now += 10
    figures.polled(failed=True, throttled_s=0.0)
    assert stats.told == [
        ("incr", "operations.polls", 1002),
        ("incr", "operations.poll_errors", 1),
        ("timing", "operations.throttled_time", timedelta(seconds=500.5)),
        ("gauge", "operations.watched", 0),
    ]


@pytest.mark.parametrize(
    ("ended", "delay_s"),
    [
        ("2027-01-15T08:00:00Z", 5.0),
        ("2027-01-15T08:00:01.5Z", 3.5),
        ("2027-01-15T08:00:01.123456789Z", 3.876543),
        ("2027-01-15T09:00:00Z", 0.0),  # a server whose clock is ahead
        ("yesterday Z", None),
        ("2027-01-15T08:00:00", None),
        (5, None),
        (None, None),
    ],
    ids=str,
)
def test_detection_delay(stats: Stats, moved: MovedClock, ended: object, delay_s: float | None) -> None:
    """The delay counts from the metadata's ``endTime``, where that is one."""
    moved.now += 5
    Figures("ops").detected(Operation("x", done=True, metadata={"endTime": ended}))
    delays = [value.total_seconds() for _, _, value in stats.told]
    assert delays == ([] if delay_s is None else [delay_s])


def test_broken_metrics_break_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Metrics that fail are told once, and keep nothing from being watched."""
    monkeypatch.setattr(sdk, "Stats", None, raising=False)
    figures = Figures("ops")
    figures.send()
    figures.send()
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_operations")]
    assert [record.getMessage() for record in ours] == ["no metrics are sent for {'conn_id': 'ops'}"]


STATSD = """
from unittest.mock import MagicMock

class StatsClient:
    def __init__(self, *_, **__):
        self.timer = self.timing = MagicMock()

    def incr(self, name, value, rate):
        print(f"{name}:{value}", flush=True)

    def gauge(self, name, value, rate, delta):
        print(f"{name}:{value}", flush=True)
"""

IN_A_TRIGGERER = """
import os
import airflow.jobs.triggerer_job_runner
if child := os.fork():
    os.waitpid(child, 0)
else:
    from airflow_provider_operations.hooks._metrics import Figures
    figures = Figures("ops")
    figures.polled(failed=False, throttled_s=0.0)
    figures.send()
    os._exit(0)
"""

IN_A_SWEEP = """
from unittest.mock import MagicMock
import airflow.cli.cli_parser
from airflow_provider_operations.cli import reap
reap.Sweep(MagicMock(), MagicMock(away=set())).run()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sent"),
    [
        (IN_A_TRIGGERER, {"operations.polls:1", "operations.watched:0"}),
        pytest.param(
            IN_A_SWEEP,
            {"operations.sweeps:1", "operations.orphans:0"},
            marks=pytest.mark.skipif(not TASKS_KEEP_STATE, reason="this Airflow has no sweeps"),
        ),
    ],
    ids=["triggerer", "sweep"],
)
def test_airflow_sends_them(tmp_path: Path, program: str, sent: set[str]) -> None:
    """In the processes that have figures Airflow's metrics are set up; where they aren't, they silently take anything."""
    (tmp_path / "statsd.py").write_text(STATSD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AIRFLOW__METRICS__STATSD_ON": "True", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sent <= set(ended.stdout.split()), ended.stderr
