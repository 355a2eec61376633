"""
``make demo``: an operations server, an Airflow, and every example DAG that needs no cloud.

It shows the operations at work, then how each run ended, and checks that each ended as it is meant to.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from airflow_provider_operations.emulator import EmulatorProcess
from airflow_provider_operations.operation import Code, Operation, Status
from tests.tooling.harness.display import State, display
from tests.tooling.harness.interrupts import Interrupted, Interrupts
from tests.tooling.harness.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.tooling.harness.display import Display

DAGS = Path(__file__).parents[3] / "dags" / "examples"
CONNECTION = "operations_default"
RUNS_TIMEOUT_S = 420.0

EXPECTED: dict[str, dict[str, str]] = {
    "operations_success": {"build": "success", "deploy": "success"},
    "operations_failure": {"train": "failed", "report": "success"},
    "operations_kill": {"long_running": "failed"},
    "operations_sensor": {"start": "success", "wait": "success", "use": "success"},
    "operations_mapped": {
        "requests": "success",
        **{f"convert[{index}]": "success" for index in range(5)},
        "count": "success",
    },
    "operations_decorator": {
        "videos": "success",
        **{f"convert[{index}]": "success" for index in range(2)},
        "publish": "success",
    },
    "operations_cancel": {"start": "success", "cancel": "success", "report": "success"},
    "operations_watcher": {"tell": "success"},
}
"""How the tasks of each demo DAG are meant to end."""

ENDS_CANCELLED = {"operations_kill", "operations_cancel"}
"""DAGs whose operation is meant to end cancelled."""

WATCHED, WATCHER = "operations_failure", "operations_watcher"
"""The DAG whose operation's failure makes the other run; it's started when the watcher has looked."""

KILLED = ("operations_kill", "long_running")
"""The task that the demo marks failed while it waits."""

TaskKey = tuple[str, str, int]


@dataclass
class Runs:
    """
    The demo's DAG runs as last seen.

    :param ids: run id by DAG id.
    :param states: state of each run.
    :param tasks: the task instances of each run.
    :param names: the operation that a task started or waits for.
    """

    ids: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    names: dict[TaskKey, str] = field(default_factory=dict)

    @property
    def over(self) -> list[str]:
        """The DAGs whose run has ended."""
        return [dag_id for dag_id, state in self.states.items() if state in {"success", "failed"}]

    def operations_of(self, dag_id: str) -> list[str]:
        """Return the names of a DAG's operations."""
        return list(dict.fromkeys(name for key, name in self.names.items() if key[0] == dag_id))

    def title_of(self, name: str) -> str | None:
        """Return the task that an operation belongs to, the first one if several name it."""
        return next(
            (f"{key[0]}.{_label(*key[1:])}" for key, known in self.names.items() if known == name), None
        )


class Demo:
    """
    One demo.

    :param console: where it is shown.
    :param interrupts: asked before every step.
    """

    def __init__(
        self, console: Console, interrupts: Interrupts, airflow: Standalone, emulator: EmulatorProcess
    ) -> None:
        self._console = console
        self._interrupts = interrupts
        self._airflow = airflow
        self._emulator = emulator
        self._runs = Runs()
        self._dags: set[str] = set()
        self._problems: list[str] = []

    # --- the story -----------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Run every DAG, show it, and tell whether each ended as it is meant to."""
        body = {"connection_id": CONNECTION, "conn_type": "operations", "host": self._emulator.url}
        self._airflow.api("POST", "/connections", json=body)
        self._start()
        with display(self._console) as shown:
            self._watch(shown)
        for dag_id in self._runs.ids:
            self._interrupts.check()
            self._tell(dag_id)
        self._examine_imports()
        self._say()
        if self._problems:
            self._say("Not as it is meant to be:", style="bold red")
            for problem in self._problems:
                self._say(f"  {problem}")
        else:
            self._say(f"All {len(EXPECTED)} DAGs ended as they are meant to.", style="bold green")
        return not self._problems

    def _start(self) -> None:
        def parsed() -> bool:
            known = {dag["dag_id"] for dag in self._airflow.api("GET", "/dags")["dags"]}
            return known | self._import_errors().keys() >= EXPECTED.keys()

        with suppress(TimeoutError):  # what is missing is said below
            self._airflow.until(parsed, "the DAGs are parsed", 60)
        known = {dag["dag_id"] for dag in self._airflow.api("GET", "/dags")["dags"]}
        for dag_id in EXPECTED:
            if dag_id in known:
                self._dags.add(dag_id)
                if dag_id not in {WATCHED, WATCHER}:
                    self._runs.ids[dag_id] = self._airflow.trigger(dag_id)
            elif dag_id not in self._import_errors():
                self._problems.append(f"{dag_id}: Airflow doesn't know this DAG")
        self._say(f"Runs {len(self._dags)} DAGs from {DAGS.parent.name}/{DAGS.name}.")
        self._say()

    def _watch(self, shown: Display) -> None:
        """Show the operations until the runs are over and no operation goes on."""
        deadline = time.monotonic() + RUNS_TIMEOUT_S
        killed = False
        # Airflow is asked in a thread: while its workers start it takes seconds to answer.
        with ThreadPoolExecutor(1) as pool:
            look = pool.submit(self._look)
            while True:
                self._interrupts.check()
                news = look.done()
                if news:
                    look.result()
                    self._start_watched()
                    if not killed and self._waits(*KILLED):
                        killed = True
                        shown.say(f"Marking {'.'.join(KILLED)} failed, as in the UI, while it waits")
                        self._airflow.set_state(KILLED[0], self._runs.ids[KILLED[0]], KILLED[1], "failed")
                resources = self._emulator.operations()
                shown.show(self._states(resources), self._summary())
                if news and self._is_over(resources):
                    return
                if time.monotonic() > deadline:
                    late = ", ".join(sorted(self._dags - set(self._runs.over)))
                    self._problems.append(f"not over within {RUNS_TIMEOUT_S:g} s: {late or 'an operation'}")
                    return
                self._interrupts.sleep(0.4)
                if news:
                    look = pool.submit(self._look)

    def _start_watched(self) -> None:
        """Start the operation that is to fail, once somebody watches for it."""
        if WATCHED not in self._dags or WATCHED in self._runs.ids:
            return
        if WATCHER not in self._dags or self._emulator.journal("list"):
            self._runs.ids[WATCHED] = self._airflow.trigger(WATCHED)

    def _is_over(self, resources: list[dict[str, Any]]) -> bool:
        return set(self._runs.over) == self._dags and all(each["done"] for each in resources)

    def _look(self) -> None:
        """Ask Airflow how its runs are, and which operations they are about."""
        runs = self._runs
        for run in self._airflow.api("GET", "/dags/~/dagRuns")["dag_runs"]:
            if run["dag_id"] == WATCHER:
                runs.ids.setdefault(WATCHER, run["dag_run_id"])
            if runs.ids.get(run["dag_id"]) == run["dag_run_id"]:
                runs.states[run["dag_id"]] = run["state"]
        instances: dict[str, list[dict[str, Any]]] = {dag_id: [] for dag_id in runs.ids}
        for instance in self._airflow.api("GET", "/dags/~/dagRuns/~/taskInstances")["task_instances"]:
            if runs.ids.get(instance["dag_id"]) == instance["dag_run_id"]:
                instances[instance["dag_id"]].append(instance)
        runs.tasks = {dag_id: sorted(found, key=_place) for dag_id, found in instances.items()}
        path = "/dags/~/dagRuns/~/taskInstances/~/xcomEntries"
        entries = self._airflow.api("GET", path, params={"xcom_key_pattern": "operation_name"})[
            "xcom_entries"
        ]
        for entry in sorted(entries, key=lambda entry: str(entry["timestamp"])):
            key = (entry["dag_id"], entry["task_id"], entry["map_index"])
            if key not in runs.names and runs.ids.get(key[0]) == entry["run_id"]:
                name = self._airflow.xcom(key[0], entry["run_id"], key[1], "operation_name", key[2])
                runs.names[key] = str(name)

    def _waits(self, dag_id: str, task_id: str) -> bool:
        """Tell whether only this task goes on, deferred, and its trigger has looked at the operation."""
        if set(self._runs.over) != self._dags - {dag_id}:
            return False
        if not any(
            ti["task_id"] == task_id and ti["state"] == "deferred" for ti in self._runs.tasks.get(dag_id, [])
        ):
            return False
        return any(len(self._emulator.journal("get", name)) >= 2 for name in self._runs.operations_of(dag_id))

    # --- while it runs -------------------------------------------------------------------------------------

    def _states(self, resources: list[dict[str, Any]]) -> dict[str, State]:
        states = {}
        for resource in resources:
            operation = Operation.from_json(resource)
            metadata = resource["metadata"]
            title = self._runs.title_of(operation.name)
            if title is None:
                continue  # its task has yet to say so
            percent = operation.progress.percent
            if operation.error is not None and operation.error.code is Code.CANCELLED:
                state = State(title, percent, "cancelled", "yellow")
            elif operation.error is not None:
                state = State(title, percent, f"failed: {operation.error.code_name}", "yellow")
            elif operation.done:
                state = State(title, 100.0, "done", "green")
            elif metadata["requestedCancellation"]:
                state = State(title, percent, "is being cancelled")
            else:
                message = metadata.get("statusMessage", "")
                state = State(title, percent, str(message))
            states[operation.name] = state
        return states

    def _summary(self) -> State:
        busy = sorted(
            f"{dag_id}.{_label(ti['task_id'], ti['map_index'])} {ti['state']}"
            for dag_id, found in self._runs.tasks.items()
            for ti in found
            if dag_id not in self._runs.over and ti["state"] in {"queued", "running", "deferred"}
        )
        over, all_runs = len(self._runs.over), len(self._dags)
        text = f"{over} of {all_runs} over"
        if busy:
            text += f", {busy[0]}" + (f" and {len(busy) - 1} more" if busy[1:] else "")
        return State("DAG runs", 100.0 * over / max(all_runs, 1), text)

    # --- when it is over -----------------------------------------------------------------------------------

    def _tell(self, dag_id: str) -> None:
        """Show how a DAG's run ended, and note what is not as it is meant to be."""
        ended = {_label(ti["task_id"], ti["map_index"]): ti for ti in self._runs.tasks[dag_id]}
        self._say()
        self._say(f"{dag_id}: {self._runs.states[dag_id]}", style="bold")
        for label, instance in ended.items():
            meant = EXPECTED[dag_id].get(label)
            state = str(instance["state"])
            note = ", as it is meant to" if state == meant == "failed" else ""
            value = self._value(instance)
            self._say(f"  {label:14} {state}{note}{value and f'   {value}'}")
            if state == "failed":
                self._tell_failure(instance)
            if state != meant:
                self._problems.append(f"{dag_id}.{label}: {state}, not {meant}")
                self._tell_log(instance)
        for label in EXPECTED[dag_id].keys() - ended.keys():
            self._problems.append(f"{dag_id}.{label}: there is no such task in the run")
        self._examine_operations(dag_id)

    def _value(self, instance: dict[str, Any]) -> str:
        try:
            value = self._airflow.xcom(
                instance["dag_id"],
                instance["dag_run_id"],
                instance["task_id"],
                "return_value",
                instance["map_index"],
            )
        except RuntimeError:  # it has returned nothing
            return ""
        if isinstance(value, list):
            return f"a list of {len(value)}"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _tell_failure(self, instance: dict[str, Any]) -> None:
        failure = self._airflow.failure(*_where(instance))
        if failure is not None:
            for line in f"{failure[0]}: {failure[1]}".splitlines():
                self._say(f"      {line}", style="yellow")

    def _tell_log(self, instance: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # a task that never began has no log
            for line in self._airflow.log_lines(*_where(instance))[-40:]:
                self._say(f"      | {line}", style="dim")

    def _examine_operations(self, dag_id: str) -> None:
        """Check in the server's journal that a DAG's operations were started once, and cancelled only if meant."""
        for name in self._runs.operations_of(dag_id):
            journal = self._emulator.journal(operation=name)
            counts = {
                kind: sum(entry["kind"] == kind for entry in journal) for kind in ("start", "get", "cancel")
            }
            status = Status.from_json(self._emulator.operation(name).get("error"))
            was_cancelled = status is not None and status.code is Code.CANCELLED
            meant = dag_id in ENDS_CANCELLED
            if meant:
                self._say(f"  The server's journal of {name}:")
                self._say(f"      {', '.join(_times(kind, count) for kind, count in counts.items())}")
                self._say(
                    f"      ended: {f'{status.code_name}, {status.message}' if status else 'not at all'}"
                )
            if (counts["start"], counts["cancel"], was_cancelled) != (1, int(meant), meant):
                self._problems.append(f"{dag_id}: {counts} of {name}, cancelled: {was_cancelled}")
        # A start whose answer got lost would be an operation that no task knows.
        starts = len(self._emulator.journal("start"))
        known = {name for dag in self._runs.ids for name in self._runs.operations_of(dag)}
        if dag_id == next(reversed(self._runs.ids)) and starts != len(known):
            self._problems.append(
                f"{starts} starts in the server's journal, but {len(known)} operations of tasks"
            )

    def _import_errors(self) -> dict[str, str]:
        found = self._airflow.api("GET", "/importErrors")["import_errors"]
        return {Path(error["filename"]).stem: error["stack_trace"] for error in found}

    def _examine_imports(self) -> None:
        for name, trace in self._import_errors().items():
            self._problems.append(f"{name}.py can't be imported: {trace.strip().splitlines()[-1]}")

    def _say(self, text: str = "", style: str | None = None) -> None:
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _label(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def _place(instance: dict[str, Any]) -> tuple[int, int]:
    """Order a run's tasks as they are listed above."""
    label = _label(instance["task_id"], instance["map_index"])
    expected = list(EXPECTED[instance["dag_id"]])
    return expected.index(label) if label in expected else len(expected), instance["map_index"]


def _where(instance: dict[str, Any]) -> tuple[str, str, str, int, int]:
    ids = (instance["dag_id"], instance["dag_run_id"], instance["task_id"])
    return (*ids, instance["try_number"], instance["map_index"])


def _times(what: str, count: int) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def main(interrupts: Interrupts, argv: Sequence[str] | None = None) -> int:
    """Show the demo; return 0 if every run ended as it is meant to, 128 + signal if it was ended before."""
    parser = argparse.ArgumentParser(prog="python -m tests.tooling.harness.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="leave when the runs are over")
    once = parser.parse_args(argv).once
    try:
        return _show(Console(), interrupts, once=once)
    except Interrupted as wish:
        return 128 + wish.number
    except Exception:
        if interrupts.number is None:
            raise
        # Ctrl-C reaches the operations server too, and what was asked of it then fails.
        return 128 + interrupts.number


def _show(console: Console, interrupts: Interrupts, *, once: bool) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    starting = console.status("Airflow starts, in half a minute or so")

    def goodbye() -> None:
        starting.stop()
        with suppress(OSError):  # the terminal may be gone
            say("Ending Airflow and the operations server ...")

    def check() -> None:
        if interrupts.number is not None:
            goodbye()
        interrupts.check()

    with ExitStack() as stack:
        emulator = stack.enter_context(EmulatorProcess())
        say(f"Operations server: {emulator.url}")
        if console.is_terminal:
            stack.enter_context(starting)
        else:
            say("Airflow starts, in half a minute or so ...")
        airflow = stack.enter_context(Standalone(DAGS, check=check))
        starting.stop()
        stack.callback(goodbye)
        say(f"Airflow {airflow.api('GET', '/version')['version']}: {airflow.url}, no login needed")
        as_meant = Demo(console, interrupts, airflow, emulator).run()
        say(f"It took {time.monotonic() - began:.0f} s.")
        if not once:
            say(f"\nAirflow stays at {airflow.url} until Ctrl-C.")
            with suppress(Interrupted):
                while airflow.running:
                    interrupts.sleep(0.5)
            if not airflow.running:
                raise RuntimeError(f"Airflow has ended by itself:\n{airflow.output()}")
        return 0 if as_meant else 1


if __name__ == "__main__":
    with Interrupts() as kept:
        status = main(kept)
        kept.ignore()
    sys.exit(status)
