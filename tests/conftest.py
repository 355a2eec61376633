"""Skips what ``tests.versions`` says, before it is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .support.fixtures import connection_fields, emulator, moved, real_emulator
from .versions import AIRFLOW, ROOT, reason_to_skip

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["connection_fields", "emulator", "moved", "real_emulator"]


class Skipped(pytest.File):
    """
    A folder or a module that this Airflow can't even import; the report names it, and why.

    Not a ``pytest.Directory``, whose ``conftest.py`` would be imported.
    """

    reason: str

    @classmethod
    def of(cls, parent: pytest.Collector, path: Path, reason: str) -> Skipped:
        """Make the node."""
        node = cls.from_parent(parent, path=path)
        node.reason = reason
        return node

    def collect(self) -> Iterable[pytest.Item]:
        """Find nothing."""
        pytest.skip(self.reason, allow_module_level=True)


def pytest_configure(config: pytest.Config) -> None:
    """Airflow's own deprecations are no errors where they can't be helped: on its older versions."""
    if AIRFLOW < (3, 3):
        for kind in ("DeprecationWarning", "FutureWarning"):
            config.addinivalue_line("filterwarnings", f"default::{kind}")


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Skip folders."""
    reason = reason_to_skip(path.relative_to(ROOT).as_posix()) if path.is_relative_to(ROOT) else None
    return Skipped.of(parent, path, reason) if reason else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Skip modules."""
    reason = reason_to_skip(module_path.relative_to(ROOT).as_posix())
    return Skipped.of(parent, module_path, reason) if reason else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests."""
    for item in items:
        place = item.path.relative_to(ROOT).as_posix()
        names = (item.name, getattr(item, "originalname", item.name))
        reasons = filter(None, (reason_to_skip(f"{place}::{name}") for name in names))
        if reason := next(reasons, None):
            item.add_marker(pytest.mark.skip(reason=reason))
