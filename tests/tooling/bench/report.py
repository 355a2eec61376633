"""The table: on the screen, as Markdown, as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.tooling.bench.server import nginx_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.tooling.bench.bench import Row

__all__ = ["machine", "show", "write"]

RESULTS = Path(__file__).parent / "RESULTS.json"
READABLE = RESULTS.with_suffix(".md")
PACKAGES = ("apache-airflow", "apache-airflow-providers-http", "aiohttp")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "commit": _git("rev-parse", "--short", "HEAD")
        + (" with changes" if _git("status", "-s", "-uno") else ""),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "nginx": nginx_version(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(RESULTS.parent), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(show_lines=True)
    for head in ("figure", "target", "ours", "floor", "peers", ""):
        table.add_column(head, overflow="fold")
    styles = {"met": "green", "MISSED": "red", "not measured": "yellow"}
    for row in rows:
        style = styles.get(row.verdict, "")
        table.add_row(
            row.figure, row.target, row.ours or row.why, row.floor, row.peers, row.verdict, style=style
        )
    width = None if os.environ.get("COLUMNS") or os.isatty(1) else 160
    Console(width=width).print(table)


def write(found: Mapping[str, Sequence[Row]], about: dict[str, Any]) -> None:
    """
    Write the JSON and the Markdown; what was measured before and isn't now stays, each line with its own date.

    :param found: rows by the name of what was measured, as ``--only`` has it.
    """
    kept: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    now = {row.figure for measured in found.values() for row in measured}
    rows = [row for row in kept if row["figure"] not in now]
    rows += [
        {**vars(row), "verdict": row.verdict, "measured": name, "about": about}
        for name, measured in found.items()
        for row in measured
    ]
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n")
    READABLE.write_text(_markdown(rows))


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "# Results of `make bench`",
        "",
        "Ratios are the result; absolute times depend on the machine and what else it did. The floor is a bare",
        "aiohttp loop with one shared session. Peers of the http provider: sensor is `HttpSensorTrigger`, event",
        "is `HttpEventTrigger`. Numbers behind each line are in `RESULTS.json`.",
        "",
        "| figure | target | ours | floor | peers | | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["figure"], row["target"], row["ours"] or row["why"], row["floor"], row["peers"]]
        cells += [row["verdict"], f"{row['about']['date'].partition(' ')[0]}, {row['about']['commit']}"]
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    for row in rows:
        if row["profile"]:
            lines += ["", f"## Why: {row['figure']}", "", "```", *row["profile"], "```"]
    lines += ["", "## Where", ""]
    abouts = {row["about"]["date"]: row["about"] for row in rows}
    for about in abouts.values():
        lines.append("- " + "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in about.items()))
    return "\n".join(lines) + "\n"
