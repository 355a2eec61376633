"""What the demo shows of operations."""

from __future__ import annotations

import io

from rich.console import Console

from tests.tooling.harness.display import Bars, Lines, State, display

RUNNING = State("dag.task", 40.0, "compiling")
SILENT = State("dag.mapped[3]", None, "")
RUNS = State("DAG runs", 50.0, "1 of 2 over")
DONE = State("dag.task", 100.0, "done", "green")


def test_lines_are_only_news() -> None:
    """Where stdout is no terminal each change is one line, and no control characters."""
    out = io.StringIO()
    shown = display(Console(file=out, width=40))
    assert isinstance(shown, Lines)
    with shown:
        for states in ({"x": RUNNING}, {"x": RUNNING, "y": SILENT}, {"x": DONE, "y": SILENT}):
            shown.show(states, RUNS)
        shown.say("[bold]as it is[/]")
    task, mapped = f"{'dag.task':32}", f"{'dag.mapped[3]':32}"
    assert out.getvalue().splitlines() == [
        f"   0 s  {task}  40 %  compiling",
        f"   0 s  {mapped}".rstrip(),
        f"   0 s  {task} 100 %  done",
        "   0 s  [bold]as it is[/]",
    ]


def test_bars_on_a_terminal() -> None:
    """Each operation has a bar with its task, percent and message; brackets are no markup."""
    out = io.StringIO()
    shown = display(Console(file=out, width=100, force_terminal=True, color_system=None, _environ={}))
    assert isinstance(shown, Bars)
    with shown:
        shown.show({"x": DONE, "y": SILENT}, RUNS)
    runs, task, mapped = out.getvalue().splitlines()[-4:-1]
    assert "DAG runs" in runs
    assert " 50 % 1 of 2 over" in runs
    assert task.split()[0] == "dag.task"
    assert "100 % done" in task
    assert mapped.strip().startswith("dag.mapped[3]")
