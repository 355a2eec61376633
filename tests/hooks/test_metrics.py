"""What is told to Airflow's metrics."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat import sdk

from airflow_provider_operations.hooks._metrics import Figures
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.raw_requests import start

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


class Stats:
    """Takes the place of Airflow's."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def __getattr__(self, method: str) -> Any:
        def tell(name: str, value: Any, *, tags: dict[str, str]) -> None:
            assert tags == {"conn_id": "ops"}
            self.told.append((method, name, value))

        return tell


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    stats = Stats()
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
