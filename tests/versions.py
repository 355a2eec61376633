"""Which tests need which Airflow: the one place that says so, and the names that moved between versions."""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import airflow

AIRFLOW = tuple(map(int, re.findall(r"\d+", airflow.__version__)[:2]))

ROOT = Path(__file__).parent

with warnings.catch_warnings():
    if AIRFLOW < (3, 3):  # of what it imports of others; pytest's own filters come later
        for kind in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("default", kind)
    if TYPE_CHECKING or AIRFLOW >= (3, 2):
        from airflow.sdk.serde import deserialize, serialize
        from airflow.serialization.serialized_objects import DagSerialization
    else:
        from airflow.serialization.serde import deserialize, serialize
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

__all__ = [
    "AIRFLOW",
    "ROOT",
    "TRIGGER_TIMEOUT",
    "DagSerialization",
    "allow_execute_in_this_thread",
    "deserialize",
    "reason_to_skip",
    "rescheduled",
    "serialize",
]

NEEDS: dict[str, tuple[tuple[int, int], str]] = {
    "docs": ((3, 3), "the pages show what it has"),
    "emulator/test_pytest_plugin.py::test_the_documentations_example_runs": (
        (3, 2),
        "DagBag is where the documentation imports it from",
    ),
    "tooling/matrix/endtoend.py::test_watcher": ((3, 0), "there are asset watchers"),
    "tasks/test_after_its_end.py": ((3, 0), "workers make links"),
    "tasks/test_imports.py::test_tasks_import_one_http_client": (
        (3, 1),
        "Airflow loads no HTTP client itself",
    ),
    "tasks/test_imports.py::test_a_preloaded_process_imports_nothing_more": (
        (3, 1),
        "Airflow loads no HTTP client itself",
    ),
    "tasks/test_ending.py": ((3, 3), "triggers push XComs"),
    "tasks/test_ending_operators.py": ((3, 3), "triggers push XComs"),
    "tasks/test_retry_policies.py": ((3, 3), "tasks have a retry_policy"),
    "sweep": ((3, 3), "tasks have a state store"),
    "tasks/test_durable.py": ((3, 3), "tasks have a state store"),
    "tasks/test_for_a_sweep.py": ((3, 3), "tasks have a state store"),
    "tasks/test_fallbacks.py::test_a_watcher_forgets": ((3, 0), "there are asset watchers"),
    "tasks/test_supervisor.py": ((3, 0), "triggerers have a supervisor"),
    "tasks/test_trigger_kill.py": ((3, 0), "triggers can ask what became of their task"),
    "tasks/test_watchers.py": ((3, 3), "triggers share a stream and keep something for an asset"),
    "tooling/sim": ((3, 3), "its own task runner and triggerer take part"),
    "ui": ((3, 1), "the UI has plugins"),
    "ui/test_orphans.py": ((3, 3), "tasks have a state store"),
    "ui/test_connection_form.py": ((3, 2), "the connection's form is in the metadata"),
}
"""A folder, a module or a test of this folder; the first version that has what it needs; what that is."""

STORE = ((3, 3), "tasks have a state store")
NEEDS |= {
    "tasks/test_after_its_end.py::test_left_to_the_next_try": STORE,
    "tasks/test_decorators.py::test_a_retry_takes_over_and_calls_no_function": STORE,
    "tasks/test_decorators.py::test_a_start_whose_answer_is_lost_is_repeated_with_its_id": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-malformed-strict]": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-malformed-soft_fail]": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-malformed-never_fail]": STORE,
    "tasks/test_modes.py::test_odd_operations[done is text-reschedule]": STORE,
    "tasks/test_modes.py::test_outages_are_announced_once": STORE,
    "tasks/test_modes.py::test_time_without_a_worker_is_no_outage": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-outage-strict]": STORE,
    "tasks/test_odd_answers.py::test_odd_answers_are_an_outage[reschedule-HTML]": STORE,
    "tasks/test_odd_answers.py::test_odd_answers_are_an_outage[reschedule-401]": STORE,
    "tasks/test_odd_answers.py::test_odd_answers_are_an_outage[reschedule-403]": STORE,
    "tasks/test_odd_answers.py::test_odd_answers_are_an_outage[reschedule-quota as 403]": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-outage-soft_fail]": STORE,
    "tasks/test_modes.py::test_every_mode_gives_the_same_verdict[reschedule-outage-never_fail]": STORE,
    "tasks/test_operators.py::test_a_retry_policy_is_asked": ((3, 3), "tasks have a retry_policy"),
}

ONLY_BEFORE: dict[str, tuple[tuple[int, int], str]] = {
    "tasks/test_fallbacks.py::test_a_retry_policy_is_ignored_with_one_warning": (
        (3, 3),
        "the argument has no effect",
    ),
    "tasks/test_fallbacks.py::test_end_from_trigger_has_no_effect": (
        (3, 3),
        "workers end every task",
    ),
    "tasks/test_fallbacks.py::test_without_a_state_store_each_try_starts_its_own": (
        (3, 3),
        "there is no state store",
    ),
    "tasks/test_fallbacks.py::test_the_hook_tells_the_form_that_the_metadata_has": (
        (3, 2),
        "hooks tell the connection's form",
    ),
    "tasks/test_fallbacks.py::test_before_3_0_a_watcher_says_why_it_cannot_be_made": (
        (3, 0),
        "there are asset watchers",
    ),
    "tasks/test_fallbacks.py::test_a_watcher_forgets": ((3, 3), "a watcher keeps what it has told"),
    "tasks/test_fallbacks.py::test_a_worker_is_there_in_time": (
        (3, 0),
        "each stay has the whole execution_timeout",
    ),
    "tasks/test_fallbacks.py::test_a_worker_is_late": ((3, 0), "each stay has the whole execution_timeout"),
    "tasks/test_without_triggerer.py::test_before_3_0_the_state_is_read_in_the_database": (
        (3, 0),
        "the supervisor tells the state",
    ),
    "tasks/test_fallbacks.py::test_a_kill_comes_as_a_cancellation": ((3, 3), "triggers have no on_kill"),
}
"""The same for tests of fallbacks, with the first version that needs none."""


TRIGGER_TIMEOUT = "Trigger timeout" if AIRFLOW >= (3, 0) else "Trigger/execution timeout"
"""What a scheduler tells a task whose trigger didn't end in time."""


def allow_execute_in_this_thread() -> None:
    """Before 3.0 Airflow looks for the caller of ``execute`` in a thread-local that only the main thread has."""
    if AIRFLOW < (3, 0):
        module = importlib.import_module("airflow.models.baseoperator")
        module.ExecutorSafeguard._sentinel.callers = {}


def rescheduled(ti: Any) -> AbstractContextManager[object]:
    """Let a sensor find a task instance's ``first_reschedule``: before 3.0 it looks into the database for it."""
    if AIRFLOW >= (3, 0):
        return nullcontext()

    def orig_start_date(dag_id: str, task_id: str, run_id: str, map_index: int, try_number: int) -> Any:
        assert (dag_id, task_id, run_id, map_index) == (ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
        assert try_number >= 1
        return ti.first_reschedule

    return patch("airflow.sensors.base._orig_start_date", orig_start_date)


def reason_to_skip(place: str) -> str | None:
    """
    Say why what is at a place can't run on this Airflow.

    :param place: folder or file, below this folder, or a test as ``file::test``.
    """
    if place in NEEDS:
        (since, what) = NEEDS[place]
        if since > AIRFLOW:
            return f"Airflow {_shown(since)} or later: {what}; this is {airflow.__version__}"
    if place in ONLY_BEFORE:
        (until, what) = ONLY_BEFORE[place]
        if until <= AIRFLOW:
            return f"before Airflow {_shown(until)}: {what}; this is {airflow.__version__}"
    return None


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
