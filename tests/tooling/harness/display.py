"""How the demo shows operations at work: bars on a terminal, else a line for each piece of news."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Bars", "Display", "Lines", "State", "display"]

_QUIET_S = 15.0


@dataclass(frozen=True)
class State:
    """
    An operation as it is shown.

    :param title: which task it belongs to.
    :param percent: 0 to 100; None if it doesn't say.
    :param message: what it says it does, or how it ended.
    :param style: of the message, once it is over.
    """

    title: str
    percent: float | None
    message: str
    style: str = ""

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended."""
        return bool(self.style)


class Display(Protocol):
    """Shows operations by their names."""

    def __enter__(self) -> Display:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End; what was shown last stays."""

    def show(self, states: dict[str, State], summary: State) -> None:
        """Show how operations are now, and how far everything is."""

    def say(self, text: str) -> None:
        """Show a line that stays."""


def display(console: Console) -> Display:
    """Return what suits the console."""
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """One bar per operation."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("  {task.fields[title]}", table_column=Column(no_wrap=True), markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[percent]}", justify="right", table_column=Column(min_width=5)),
            TextColumn("{task.fields[message]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            refresh_per_second=5,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, states: dict[str, State], summary: State) -> None:
        """Draw the bars as they are now."""
        for name, state in {"": summary, **states}.items():
            self._draw(name, state)

    def _draw(self, name: str, state: State) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task("", total=100, title="", percent="", message="")
        shown = "" if state.percent is None else f"{state.percent:.0f} %"
        known = state.percent is not None or state.is_over
        self._progress.update(
            self._bars[name],
            total=100 if known else None,
            completed=state.percent or 0,
            title=state.title,
            percent=shown,
            message=Text(state.message, style=state.style).markup,
        )

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)


class Lines:
    """A line for each operation with news, and now and then one that it goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, State] = {}
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Lines:
        """Begin to count the time."""
        self._began = self._last = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """End; there is nothing to do."""

    def show(self, states: dict[str, State], summary: State) -> None:
        """Print what has changed."""
        for name, state in states.items():
            if self._shown.get(name) != state:
                self._shown[name] = state
                percent = "" if state.percent is None else f"{state.percent:.0f} %"
                self._print(f"{state.title:32} {percent:>5}  {state.message}")
        if time.monotonic() - self._last >= _QUIET_S:
            self._print(f"{summary.title}: {summary.message}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        line = f"{self._last - self._began:4.0f} s  {text}".rstrip()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
