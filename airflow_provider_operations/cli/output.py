"""
How the commands print: results to stdout, everything else to stderr.

What a server wrote can't steer the terminal, and secrets that Airflow knows of are hidden.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import yaml  # type: ignore[import-untyped]  # its types are another package
from airflow.cli.simple_table import SimpleTable
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from airflow_provider_operations._airflow.redaction import without_secrets
from airflow_provider_operations._protocol.outcome import ending
from airflow_provider_operations._protocol.rendering import clip, finite, printable, render_status
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_operations._protocol.outcome import Watch

__all__ = ["FOR_PEOPLE", "Output"]

FOR_PEOPLE = frozenset({"table", "plain"})
"""Forms of a result that are no data."""


class Output:
    """
    One command's stdout and stderr.

    :param form: of the result: ``table``; ``plain``, the same without lines and one line a row; ``json`` or ``yaml``.
    """

    def __init__(self, form: str, results: TextIO, notes: TextIO) -> None:
        self._form = form
        self._for_people = form in FOR_PEOPLE
        self._results = results
        self._notes = notes

    def operation(self, operation: Operation) -> None:
        """Print one operation."""
        resource = without_secrets(operation.to_json())
        if not self._for_people:
            self._data(resource)
            return
        shown = Operation.from_json(resource)
        rows = {"name": shown.name, "state": _state(shown), "progress": _progress(shown)}
        indent = None if self._form == "plain" else 2
        rows |= {
            key: json.dumps(value, ensure_ascii=False, indent=indent)
            for key, value in resource.items()
            if key not in {"name", "done", "error"}
        }
        if shown.error is not None:
            rows["error"] = render_status(shown.error)
        self._pairs(rows)

    def operations(self, operations: Sequence[Operation]) -> None:
        """Print a list of operations."""
        resources = [without_secrets(operation.to_json()) for operation in operations]
        if not self._for_people:
            self._data(resources)
            return
        if not resources:
            self._write("No operations found\n")
            return
        rows = [(each.name, _state(each), _progress(each)) for each in map(Operation.from_json, resources)]
        self._rows([[_line(cell) for cell in row] for row in rows], ("name", "state", "progress"))

    def methods(self, methods: Sequence[dict[str, Any]]) -> None:
        """Print methods of Google's: one with all that is known, several as a list."""
        if not self._for_people:
            self._data(list(methods))
        elif not methods:
            self._write("No method's id has all of these words in it\n")
        elif len(methods) == 1:
            (one,) = methods
            parameters = "\n".join(f"{name}: {about}" for name, about in one["parameters"].items())
            self._pairs({**{key: _yes_or_no(value) for key, value in one.items()}, "parameters": parameters})
        else:
            rows = [
                (each["method"], *(_yes_or_no(each[key]) for key in ("request_id", "cancel", "list", "wait")))
                for each in methods
            ]
            titles = ("method", "request id", "cancel", "list", "wait")
            self._rows([[_line(cell) for cell in row] for row in rows], titles)

    def reaped(self, rows: Sequence[dict[str, Any]]) -> None:
        """Print the operations that a sweep has something to say about."""
        if not self._for_people:
            self._data(without_secrets([*rows]))
            return
        if not rows:
            self._write("No orphans found\n")
            return
        titles = ("task", "run", "state", "operation", "conn_id", "fate", "said")
        cells = [
            (
                f"{row['dag_id']}.{row['task_id']}"
                + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""),
                row["run_id"],
                row["state"],
                *(without_secrets(row[key]) for key in ("name", "conn_id", "fate", "said")),
            )
            for row in rows
        ]
        self._rows([[_line(cell) for cell in row] for row in cells], titles)

    def fields(self, fields: dict[str, Any], unknown: str = "") -> None:
        """
        Print facts.

        :param unknown: for people, instead of None.
        """
        if not self._for_people:
            self._data(fields)
            return
        self._pairs({key: unknown if value is None else str(value) for key, value in fields.items()})

    def note(self, text: str) -> None:
        """Print what isn't the result."""
        print(printable(without_secrets(text)), file=self._notes, flush=True)

    @contextmanager
    def progress(self, name: str) -> Iterator[Callable[[Watch], None]]:
        """
        Show how an operation gets on: a bar on a terminal, else a line for each piece of news.

        :return: what to call with the watch after every poll.
        """
        console = Console(file=self._notes)
        if not self._for_people or not self._results.isatty() or not console.is_terminal:
            yield self._note_news
            return
        self.note(f"Waiting for {name}")
        # What the server says takes the room that is left.
        message_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            BarColumn(bar_width=30),
            TaskProgressColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[message]}", markup=False, table_column=message_column),
        )
        with Progress(*columns, console=console, transient=True, expand=True) as bar:
            task = bar.add_task("", total=None, message="")

            def show(watch: Watch) -> None:
                watch.take_news()
                percent = watch.progress.percent if watch.progress else None
                message = watch.progress.said if watch.progress else None
                if watch.outage.since_epoch_s is not None:
                    message = "no answer from the server"
                total = None if percent is None else 100
                bar.update(task, total=total, completed=percent or 0, message=_line(message or "").plain)

            yield show

    def _note_news(self, watch: Watch) -> None:
        for line in watch.take_news():
            self.note(line)

    def _data(self, data: Any) -> None:
        # All but ASCII is escaped; JSON leaves one control character.
        if self._form == "json":
            self._write(json.dumps(finite(data), indent=2).replace("\x7f", "\\u007f") + "\n")
        else:  # not by libyaml, which stumbles over surrogates
            self._write(yaml.dump(data, Dumper=yaml.SafeDumper, sort_keys=False))

    def _pairs(self, rows: dict[str, str]) -> None:
        shown = {key: value for key, value in rows.items() if value}
        if self._form == "plain":
            shown = {key: " ".join(map(str.strip, value.split("\n"))) for key, value in shown.items()}
        self._rows([[_line(key), Text(printable(clip(value)))] for key, value in shown.items()])

    def _rows(self, rows: list[list[Text]], titles: Sequence[str] = ()) -> None:
        if self._form == "plain":
            self._plain([*([[Text(title) for title in titles]] if titles else []), *rows])
            return
        table = SimpleTable(show_header=bool(titles))
        table.caption = None
        for title in titles or ("", ""):
            table.add_column(title)
        for row in rows:
            table.add_row(*row)
        console = Console(file=self._results, highlight=False)
        if not console.is_terminal:  # one line a row, for grep
            console.width = max(
                console.measure(table, options=console.options.update(max_width=10**6)).maximum, 1
            )
        console.print(table)
        self._results.flush()

    def _plain(self, rows: list[list[Text]]) -> None:
        widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            padded = (
                cell.plain + " " * (width - cell.cell_len) for cell, width in zip(row, widths, strict=True)
            )
            self._write("  ".join(padded).rstrip() + "\n")

    def _write(self, text: str) -> None:
        self._results.write(text)
        self._results.flush()


def _yes_or_no(value: Any) -> str:
    return "yes" if value is True else "no" if value is None or value is False else str(value)


def _state(operation: Operation) -> str:
    return ending(operation) if operation.done else "running"


def _progress(operation: Operation) -> str:
    return "" if operation.done else str(operation.progress)


def _line(text: str) -> Text:
    return Text(printable(clip(" ".join(text.split()), 1000)))
