"""
Signals between two lines of the package's source, and not only where a process waits.

A trace function counts the lines that a schedule's workers run in their main threads, each the first time only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow_provider_operations

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .airflow import Worker
    from .world import World

__all__ = ["Lines"]

_PACKAGE = str(Path(airflow_provider_operations.__file__).parent)


class Lines:
    """
    The lines of one schedule.

    :param at: the line before which something happens, such as ``_tasks/base.py:310``; empty: nothing happens.
    :param fault: what happens there, once. If it ends the worker, that gets its signal at once.
    """

    def __init__(self, world: World, at: str, fault: str) -> None:
        self._world = world
        self._at = at
        self._fault = fault
        self._seen: set[tuple[str, int]] = set()
        self.places: list[str] = []
        """The lines that were seen."""

    def run(self, worker: Worker, do: Callable[[], int]) -> int:
        """Run what a worker does in its main thread."""

        def call(frame: FrameType, _: str, __: Any) -> Any:
            return line if frame.f_code.co_filename.startswith(_PACKAGE) else None

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                place = frame.f_code.co_filename, frame.f_lineno
                if place not in self._seen:
                    self._seen.add(place)
                    where = f"{frame.f_code.co_filename[len(_PACKAGE) + 1 :]}:{frame.f_lineno}"
                    if where == self._at:
                        self._happen(worker, where)
                    self.places.append(where)
            return line

        sys.settrace(call)
        try:
            return do()
        finally:
            sys.settrace(None)

    def _happen(self, worker: Worker, where: str) -> None:
        self._world.kernel.note(worker.process.name, f"comes to {where}")
        self._world.do(self._fault)
        worker.beat()
        self._world.kernel.handle_signals(worker.process)
