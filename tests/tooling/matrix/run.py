"""
Run the provider on each Airflow: ``python -m tests.tooling.matrix.run [--only NAME] [--short] [--turn N] [--at-once N]
[--keep]``.

Each environment is fresh and gets the built wheel; the tests run in a folder without the sources. Needs only the
standard library: what else it takes, it installs below ``.matrix``. Unless short, the last result of each environment
is kept, in RESULTS.json and as tables in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import PINS, Environment, environments, in_turn, left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[3]
WORK = ROOT / ".matrix"
RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGE = "airflow_provider_operations"
NOT_COPIED = {PACKAGE, "dist", "build", "__pycache__"}
EXTRAS = "[emulator,google,oauth2]"
FAST = (
    "tests/unit",
    "tests/tasks/test_fallbacks.py",
    "tests/tasks/test_imports.py",
    "tests/tasks/test_plugin.py",
    "tests/tasks/test_links.py",
    "tests/tasks/test_decorators.py",
)
"""What the short form runs."""

LINES_OF_A_FAILURE = 100
"""So much of its log is printed: whoever reads what CI has printed has no log file."""

DISCOVERED = """
from airflow.providers_manager import ProvidersManager
import airflow_provider_operations, os
assert "site-packages" in airflow_provider_operations.__file__, airflow_provider_operations.__file__
manager = ProvidersManager()
assert "airflow-provider-operations" in manager.providers, sorted(manager.providers)
hook = manager.hooks["operations"]
assert hook.hook_class_name == "airflow_provider_operations.hooks.OperationsHook", hook
assert "operation" in dict(manager.taskflow_decorators)
print("discovered")
"""

PARSED = """
import os, sys
from pathlib import Path
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
import airflow, re
version = tuple(map(int, re.findall(r"\\d+", airflow.__version__)[:2]))
wanted = []
for file in sorted(Path("dags/examples").glob("*.py")):
    needs = re.search(r"\\(Airflow (\\d+)(?:\\.(\\d+))?(?: or later)?\\)", file.read_text())
    if needs and version < (int(needs[1]), int(needs[2] or 0)):
        print(f"left out: {file.name} says that it needs {needs[0]}")
        continue
    wanted.append(file)
    bag = DagBag(str(file))
    assert not bag.import_errors, bag.import_errors
    assert bag.dags, f"{file}: no DAG"
print(f"parsed: {len(wanted)}")
"""


@dataclass
class Step:
    """How one step went."""

    name: str
    outcome: str
    seconds: float
    note: str = ""


@dataclass
class Column:
    """How one environment went."""

    environment: Environment
    steps: list[Step] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    features: dict[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every step did."""
        return all(step.outcome == "passed" for step in self.steps)


class Failed(Exception):
    """A step's command ended with an error."""


class Runner:
    """
    Runs the steps of one environment.

    :param uv: the installer.
    :param wheel: what is tested.
    """

    def __init__(self, environment: Environment, uv: Path, wheel: Path, *, short: bool) -> None:
        self.environment = environment
        self.folder = WORK / environment.name
        self.python = self.folder / "venv" / "bin" / "python"
        self.tests = self.folder / "tests"
        self.home = self.folder / "airflow"
        self._features = self.folder / "features.json"
        self.column = Column(environment)
        self._uv = uv
        self._wheel = wheel
        self._short = short

    def run(self) -> Column:
        """Do one step after the other; the first that fails ends it, but tests and end-to-end run both."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        needed = {
            "install": self._install,
            "pip check": self._check,
            "discovered": lambda: self._said("-c", DISCOVERED),
            "example DAGs": lambda: self._said("-c", PARSED),
        }
        for name, do in needed.items():
            if not self._step(name, do):
                return self.column
        self._step("tests", self._test)
        if not self._short:
            self._step("end to end", self._end_to_end)
        return self.column

    def _step(self, name: str, do: Callable[[], str]) -> bool:
        began = time.monotonic()
        self._log = self.folder / f"{name.replace(' ', '-')}.log"
        try:
            outcome, note = "passed", do()
        except Failed as error:
            outcome, note = "FAILED", str(error)
        step = Step(name, outcome, time.monotonic() - began, note)
        self.column.steps.append(step)
        print(f"{self.environment.name:20} {name:14} {outcome:7} {step.seconds:5.0f} s  {note}", flush=True)
        if outcome != "passed":
            print("\n".join(self._log.read_text().splitlines()[-LINES_OF_A_FAILURE:]), flush=True)
        return outcome == "passed"

    # --- steps -------------------------------------------------------------------------------------------------

    def _install(self) -> str:
        self._call(self._uv, "venv", "--quiet", "--python", self.environment.executable, self.folder / "venv")
        shutil.copytree(
            ROOT,
            self.tests,
            ignore=lambda _folder, names: {
                name
                for name in names
                if name in NOT_COPIED or (name.startswith(".") and name != ".astro-registry.yaml")
            },
        )
        airflow = f"apache-airflow=={self.environment.airflow}"
        install: list[str | Path] = [self._uv, "pip", "install", "--quiet", "--python", self.python, airflow]
        install += [*PINS.get(self.environment.airflow, ()), *self.environment.also]
        if self.environment.lowest:
            floors, lowest = self.folder / "airflow.in", self.folder / "lowest.txt"
            floors.write_text(f"{airflow}\n")
            version = "{}.{}".format(*self.environment.python)
            self._call(
                self._uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--all-extras",
                "--annotation-style", "line", "--python-version", version, "--output-file", lowest,
                ROOT / "pyproject.toml", floors,
            )  # fmt: skip
            lines = lowest.read_text().splitlines()
            # What else was resolved with them need not go with what the tests need.
            lowest.write_text("".join(f"{line}\n" for line in lines if "pyproject.toml)" in line))
            install += ["--constraint", lowest]
        if self.environment.constraints.exists():
            install += ["--constraint", self.environment.constraints]
        self._call(*install, f"{self._wheel}{EXTRAS}", "--group", f"{ROOT / 'pyproject.toml'}:dev")
        frozen = self._call(self._uv, "pip", "freeze", "--python", self.python)
        names = ("apache-airflow-providers-http", "apache-airflow-providers-common-compat")
        self.column.versions = {
            name.rpartition("providers-")[2]: version
            for name in names
            for version in re.findall(rf"^{name}==(.*)$", frozen, re.MULTILINE)
        }
        return ", ".join(f"{name} {version}" for name, version in self.column.versions.items())

    def _check(self) -> str:
        self._call(self._uv, "pip", "check", "--python", self.python)
        return ""

    def _test(self) -> str:
        paths = FAST if self._short else ("tests",)
        return _counted(
            self._python("-m", "pytest", "-n", "4", "-q", "-m", "not airflow and not celery", *paths)
        )

    def _end_to_end(self) -> str:
        try:
            return _counted(self._python("-m", "pytest", "-q", "tests/tooling/matrix/endtoend.py"))
        finally:
            if self._features.exists():
                self.column.features = json.loads(self._features.read_text())

    # --- commands ----------------------------------------------------------------------------------------------

    def _said(self, *arguments: str) -> str:
        lines = self._python(*arguments).splitlines()
        return "; ".join(line for line in lines if line.startswith(("parsed", "left out")))

    def _python(self, *arguments: str) -> str:
        return self._call(self.python, *arguments)

    def _call(self, *command: str | Path) -> str:
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AIRFLOW", "_AIRFLOW", "PYTHONPATH", "VIRTUAL_ENV"))
        }
        environment = {
            **clean,
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "MATRIX_FEATURES": str(self._features),
        }
        with self._log.open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n")
            log.flush()
            ended = subprocess.run(
                list(map(str, command)),
                cwd=self.tests if self.tests.exists() else self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
            log.write(ended.stdout)
        if ended.returncode:
            last = _counted(ended.stdout) if "pytest" in command else self._log.read_text().splitlines()[-1]
            raise Failed(f"{last[:200]} ({self._log.relative_to(ROOT)})")
        return ended.stdout


def _counted(output: str) -> str:
    line = r"^=*\s*((?:\d+ \w+, )*\d+ (?:passed|failed|skipped|warnings?|errors?)\b[^=\n]*)"
    found = re.findall(line, output, re.MULTILINE)
    return found[-1].strip() if found else "no test ran"


def installer() -> Path:
    """Install uv, and return it."""
    folder = WORK / "tools"
    uv = folder / "bin" / "uv"
    if not uv.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip: list[str | Path] = [
            folder / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--no-input", "uv"], check=True)
    return uv


def build(uv: Path, source: Path = ROOT, dist: Path = WORK / "dist") -> Path:
    """Build the wheel of a source tree into an emptied folder, and return it."""
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", dist, source], check=True)
    (wheel,) = dist.glob("*.whl")
    return wheel


def remember(column: Column, commit: str, planned: Sequence[str]) -> None:
    """
    Keep the last result of each environment, and show all of them as tables.

    :param commit: what the wheel was built of.
    :param planned: names of all environments that this machine can run.
    """
    kept = RESULTS.with_suffix(".json")
    last: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    last[column.environment.name] = {
        "airflow": column.environment.airflow,
        "python": "{}.{}".format(*column.environment.python),
        "lowest": column.environment.lowest,
        "at": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
        "commit": commit,
        "passed": column.passed,
        "versions": column.versions,
        "steps": {step.name: [step.outcome, round(step.seconds), step.note] for step in column.steps},
        "features": column.features,
    }
    last = dict(sorted(last.items(), key=_by_version))
    kept.write_text(json.dumps(last, indent=1) + "\n")
    RESULTS.write_text(report(last, [name for name in planned if name not in last]))


def _by_version(named: tuple[str, dict[str, Any]]) -> tuple[list[int], bool, list[int]]:
    airflow, python = (list(map(int, named[1][key].split("."))) for key in ("airflow", "python"))
    return airflow, named[1]["lowest"], python


def _commit() -> str:
    """Return the commit of the sources, with a plus if they were changed since."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git(
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        f":!{RESULTS.relative_to(ROOT).with_suffix('.*')}",
    )
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def report(last: dict[str, dict[str, Any]], missing: Sequence[str]) -> str:
    """Return RESULTS.md."""
    failed = [name for name, one in last.items() if not one["passed"]]
    steps = list(dict.fromkeys(step for one in last.values() for step in one["steps"]))
    lines = [
        "# Results of `make matrix`",
        "",
        f"The last result of each environment. {len(last) - len(failed)} passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
        + (f"; not run yet: {', '.join(missing)}" if missing else "")
        + ".",
        "",
        "Seconds for each step; what can't run on a version is skipped with the reason, in `tests/versions.py`.",
        "",
        f"| Airflow | Python | UTC | commit | http | common-compat | {' | '.join(steps)} | tests | end to end |",
        "|" + "---|" * (len(steps) + 8),
    ]
    for one in last.values():
        versions = [one["versions"].get(name, "") for name in ("http", "common-compat")]
        done = one["steps"]
        cells = [_cell(done.get(name)) for name in steps]
        notes = [done[name][2] if name in done else "-" for name in ("tests", "end to end")]
        python = one["python"] + (", lowest" if one["lowest"] else "")
        row = [one["airflow"], python, one["at"], one["commit"], *versions, *cells, *notes]
        lines.append(f"| {' | '.join(row)} |")
    features = list(dict.fromkeys(feature for one in last.values() for feature in one["features"]))
    columns: dict[str, dict[str, bool]] = {}
    for one in last.values():
        seen = columns.setdefault(one["airflow"], {})
        for feature, value in one["features"].items():
            seen[feature] = seen.get(feature, True) and value
    lines += [
        "",
        "What the end-to-end run saw on each:",
        "",
        f"| | {' | '.join(columns)} |",
        "|" + "---|" * (len(columns) + 1),
        *(
            f"| {feature} | {' | '.join(_said(seen.get(feature)) for seen in columns.values())} |"
            for feature in features
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(step: tuple[str, float, str] | None) -> str:
    if step is None:
        return "-"
    outcome, seconds, _ = step
    return f"{'' if outcome == 'passed' else '**FAILED** '}{seconds:.0f}"


def _said(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def main() -> int:
    """Run what is asked for; 0 if everything passed."""
    parser = argparse.ArgumentParser(prog="make matrix", description="The provider on each Airflow")
    parser.add_argument("--only", help="environments, or how they begin, e.g. 2.11.0-3.10,3.3.2")
    parser.add_argument("--short", action="store_true", help="no end-to-end run, and few tests")
    parser.add_argument("--turn", type=int, help="two of them, by this number")
    parser.add_argument("--at-once", type=int, default=1, help="so many environments side by side")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    args = parser.parse_args()
    plan = environments()
    chosen = plan if args.turn is None else in_turn(plan, args.turn)
    if args.only:
        names = {each.name for each in plan}
        wanted = args.only.split(",")
        beginnings = tuple(name for name in wanted if name not in names)
        chosen = [each for each in plan if each.name in wanted or each.name.startswith(beginnings)]
    if not chosen:
        parser.error(f"there are {', '.join(each.name for each in plan)}")
    for airflow in left_out(plan):
        print(f"Airflow {airflow} is left out: no Python that it supports is on this machine", flush=True)
    commit = _commit()
    uv = installer()
    wheel = build(uv)
    runners = [Runner(environment, uv, wheel, short=args.short) for environment in chosen]
    columns = []
    with ThreadPoolExecutor(args.at_once) as pool:
        for future in as_completed([pool.submit(runner.run) for runner in runners]):
            columns.append(column := future.result())
            if not args.short:
                remember(column, commit, [each.name for each in plan])
            if not args.keep and column.passed:
                shutil.rmtree(WORK / column.environment.name / "venv", ignore_errors=True)
    failed = sum(not column.passed for column in columns)
    print(f"{len(columns) - failed} passed, {failed} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
