"""Which environments the matrix has: each Airflow with the Pythons that it supports and the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Python = tuple[int, int]

AIRFLOWS: dict[str, tuple[Python, Python]] = {
    "2.11.0": ((3, 10), (3, 12)),
    "2.11.2": ((3, 10), (3, 12)),
    "3.0.6": ((3, 10), (3, 12)),
    "3.1.8": ((3, 10), (3, 13)),
    "3.2.2": ((3, 10), (3, 14)),
    "3.3.2": ((3, 10), (3, 14)),
}
"""2.11's first and last, then the newest of each; the lowest and the highest Python that they support."""

PINS: dict[str, tuple[str, ...]] = {
    "3.0.6": ("fastapi<0.117", "cadwyn<5.5", "pyjwt<2.11"),
    "3.2.2": ("fastapi<0.137", "svcs<26"),
}
"""What Airflow leaves open and doesn't run with today: no API server starts, or no task can report to it."""

LOWEST = ("2.11.0", "3.3.2")
"""Airflows that are also run with the oldest direct dependencies, on the lowest and the highest Python."""

CONSTRAINED: Python = (3, 12)
"""The Python that constraints files are for: every Airflow supports it, and Airflow's images have it by default."""

CONSTRAINTS = Path(__file__).parents[3] / "constraints"

FAB = {"3.0.6": ("apache-airflow-providers-fab", "flask-jwt-extended<4.7")}
"""
Airflows whose form of connections needs the FAB provider: it is there on the highest Python. What it needs and leaves
open doesn't go with the PyJWT that they are pinned to.
"""


@dataclass(frozen=True)
class Environment:
    """
    One column of the matrix.

    :param lowest: with the oldest direct dependencies that ``pyproject.toml`` allows.
    :param also: what else is installed.
    """

    airflow: str
    python: Python
    executable: Path
    lowest: bool = False
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``2.11.0-3.10`` or ``2.11.0-3.10-lowest``."""
        return f"{self.airflow}-{self.python[0]}.{self.python[1]}{'-lowest' if self.lowest else ''}"

    @property
    def constraints(self) -> Path:
        """Where its constraints file is, if it has one."""
        return CONSTRAINTS / f"constraints-{self.name}.txt"


def environments() -> list[Environment]:
    """Return what this machine can run: an Airflow without a Python that it supports is left out."""
    pythons = dict(_pythons())
    plan = []
    for airflow, (least, most) in AIRFLOWS.items():
        here = sorted(version for version in pythons if least <= version <= most)
        for version in here:
            also = FAB.get(airflow, ()) if version == here[-1] else ()
            plan.append(Environment(airflow, version, pythons[version], also=also))
        if airflow in LOWEST:
            ends = sorted({*here[:1], *here[-1:]})
            plan += [Environment(airflow, version, pythons[version], lowest=True) for version in ends]
    return plan


def left_out(plan: list[Environment]) -> list[str]:
    """Return the Airflows that this machine has no Python for."""
    return sorted(AIRFLOWS.keys() - {each.airflow for each in plan})


def in_turn(plan: list[Environment], turn: int) -> list[Environment]:
    """Return one before and one from Airflow 3.1: another pair each time, until all have had their turn."""
    newer = [each for each in plan if each.airflow >= "3.1"]
    older = [each for each in plan if each not in newer]
    return [half[turn % len(half)] for half in (older, newer) if half]


def constrained(plan: list[Environment]) -> list[Environment]:
    """Return those that have a constraints file: the newest of each Airflow."""
    newest = {each.airflow.rpartition(".")[0]: each.airflow for each in plan}.values()
    return [
        each for each in plan if each.airflow in newest and each.python == CONSTRAINED and not each.lowest
    ]


def _pythons() -> Iterator[tuple[Python, Path]]:
    """Find interpreters on the path, and those of pyenv."""
    of_pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for minor in range(10, 15):
        found: list[str | Path | None] = [
            shutil.which(f"python3.{minor}"),
            *sorted(of_pyenv.glob(f"3.{minor}.*/bin/python")),
        ]
        for candidate in found:
            if candidate is None:
                continue
            works = [candidate, "-c", f"import sys, venv, ssl; assert sys.version_info[:2] == (3, {minor})"]
            if subprocess.run(works, capture_output=True, check=False).returncode == 0:
                yield (3, minor), Path(candidate)
                break
