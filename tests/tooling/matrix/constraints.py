"""
Write the constraints files: ``python -m tests.tooling.matrix.constraints``.

Each has the versions that the matrix would install today on one Airflow, without what only the tests need.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .plan import CONSTRAINTS, PINS, Environment, constrained, environments
from .run import ROOT, installer


def write(environment: Environment, uv: Path) -> None:
    """Resolve what the environment is installed with, then narrow it down to what users need."""
    python = "{}.{}".format(*environment.python)
    airflow = (
        f"apache-airflow=={environment.airflow}",
        *PINS.get(environment.airflow, ()),
        *environment.also,
    )
    with tempfile.TemporaryDirectory() as folder:
        wanted, everything, needed = (Path(folder) / name for name in ("wanted.in", "all.txt", "needed.txt"))
        wanted.write_text("".join(f"{requirement}\n" for requirement in airflow))
        resolve: list[str | Path] = [
            uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--all-extras",
            "--python-version", python, ROOT / "pyproject.toml", wanted,
        ]  # fmt: skip
        dev = f"{ROOT / 'pyproject.toml'}:dev"
        subprocess.run([*resolve, "--group", dev, "--output-file", everything], check=True)
        subprocess.run([*resolve, "--constraint", everything, "--output-file", needed], check=True)
        header = f"# airflow-provider-operations, with its extras, on Airflow {environment.airflow} and Python {python}"
        environment.constraints.write_text(f"{header}: make constraints\n{needed.read_text()}")
    print(environment.constraints.relative_to(ROOT), flush=True)


def main() -> int:
    """Write all of them; those of Airflows that are no longer the newest go."""
    chosen = constrained(environments())
    if not chosen:
        print("No Python that constraints files are for is on this machine", file=sys.stderr)
        return 1
    uv = installer()
    CONSTRAINTS.mkdir(exist_ok=True)
    for environment in chosen:
        write(environment, uv)
    for file in set(CONSTRAINTS.glob("*.txt")) - {environment.constraints for environment in chosen}:
        file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
