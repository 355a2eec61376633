"""What a sweep tells Airflow's metrics."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat import sdk

from tests.support.stats import Stats

if TYPE_CHECKING:
    from .conftest import Orphans, Swept


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    """Airflow's metrics."""
    stats = Stats({})
    monkeypatch.setattr(sdk, "Stats", stats, raising=False)
    return stats


def _once_each(stats: Stats) -> dict[str, tuple[str, Any]]:
    """Return method and value by name; each figure is told once."""
    told = {name: (method, value) for method, name, value in stats.told}
    assert len(told) == len(stats.told)
    return told


def test_what_is_told(orphans: Orphans, sweep: Swept, stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it took, and how many operations of each fate there were; an orphan is found once."""
    orphans.add_away(monkeypatch)
    orphans.add(map_index=3)
    orphans.add(map_index=4, script={"onCancel": "unimplemented"})
    orphans.add(map_index=5, record={"service": {}})
    sweep()
    told = _once_each(stats)
    method, took = told.pop("operations.sweep_time")
    assert method == "timing"
    assert timedelta() < took < timedelta(minutes=1)
    assert told == {
        "operations.sweeps": ("incr", 1),
        "operations.sweep_looks": ("incr", 3),
        "operations.orphans_found": ("incr", 2),
        "operations.orphans_cancelled": ("incr", 1),
        "operations.orphans_refused": ("incr", 1),
        "operations.orphans": ("gauge", 3),
        "operations.orphans_unknown": ("gauge", 0),
        "operations.orphans_left_alone": ("gauge", 1),
        "operations.sweep_services_away": ("gauge", 1),
    }
    stats.told.clear()
    sweep()
    assert "operations.orphans_refused" not in _once_each(stats)
    stats.told.clear()
    orphans.moved.now += 600
    sweep()
    told = _once_each(stats)
    assert "operations.orphans_found" not in told
    assert told["operations.orphans_refused"] == ("incr", 1)


def test_a_dry_run_tells_nothing(orphans: Orphans, sweep: Swept, stats: Stats) -> None:
    """It is no sweep that would calm an alarm."""
    orphans.add()
    sweep(dry_run=True)
    assert stats.told == []


def test_broken_metrics_break_no_sweep(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and orphans are cancelled."""
    monkeypatch.setattr(sdk, "Stats", None, raising=False)
    name = orphans.add()
    sweep()
    assert orphans.done(name)
    assert caplog.messages.count("no metrics are sent for sweeps") == 1
