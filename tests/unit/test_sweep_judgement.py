"""What a sweep does about a task's operation, by what Airflow's database says; in doubt nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_operations._airflow.states import OVER_OR_REMOVED
from airflow_provider_operations._connection.options import SERVICE_FIELDS
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY, Record, State
from airflow_provider_operations._sweep.judgement import (
    Found,
    Note,
    Step,
    another,
    judge,
    operation_of,
    own_fields,
    stranger,
)
from airflow_provider_operations.operation import Operation

NOW = 1.8e9
SERVICE: dict[str, Any] = {
    **dict.fromkeys(SERVICE_FIELDS),
    "operations_conn_id": "service",
    "path_prefix": "v1",
}
RECORD = Record(
    State.STARTED,
    3,
    1,
    "id",
    "digest",
    NOW - 900,
    NOW + 900,
    "operations/x",
    cancel_if_orphaned=True,
    service=SERVICE,
)


def found(record: Any = RECORD, **more: Any) -> Found:
    values: dict[str, Any] = {
        "state": "failed",
        "quiet_since_epoch_s": NOW - 60,
        "stored": record.to_json() if isinstance(record, Record) else record,
        **more,
    }
    return Found(
        "dag", "run", "task", -1, RECORD_KEY, "ti", try_number=1, max_tries=3, stored_at=None, **values
    )


def note(**more: Any) -> Note:
    return Note(**{"of": operation_of(RECORD), "by": "s", "at_epoch_s": NOW - 300, "said": "", **more})


DONE = {"name": "operations/x", "done": True}
CASES: dict[str, tuple[Found, Step]] = {
    **{state: (found(state=state), Step.LOOK) for state in sorted(OVER_OR_REMOVED)},
    **{
        state: (found(state=state), Step.LEAVE)
        for state in (
            "running",
            "deferred",
            "up_for_retry",
            "up_for_reschedule",
            "scheduled",
            "queued",
            "restarting",
        )
    },
    "no state": (found(state=None), Step.LEAVE),
    "a state of later versions": (found(state="awaiting_input"), Step.LEAVE),
    "over for 59 s": (found(quiet_since_epoch_s=NOW - 59), Step.LEAVE),
    "over since later": (found(quiet_since_epoch_s=NOW + 5), Step.LEAVE),
    "over since nobody knows when": (found(quiet_since_epoch_s=None), Step.LEAVE),
    "no record": (found({"version": 1}), Step.SHOW),
    "an old record": (found({**RECORD.to_json(), "cancel_if_orphaned": False}), Step.LEAVE),
    "handed on": (found(replace(RECORD, handed_on=True)), Step.LEAVE),
    "foreign": (found({**RECORD.to_json(), "foreign": True}), Step.LEAVE),
    "foreign, oddly": (found({**RECORD.to_json(), "foreign": "no"}), Step.SHOW),
    "not foreign": (found({**RECORD.to_json(), "foreign": False}), Step.LOOK),
    "rejected": (found(replace(RECORD, state=State.REJECTED, name="")), Step.LEAVE),
    "delivered": (found(replace(RECORD, state=State.DELIVERED)), Step.LEAVE),
    "failed": (found(replace(RECORD, state=State.FAILED)), Step.LOOK),
    "starting": (found(replace(RECORD, state=State.STARTING, name="")), Step.LOST),
    "without a name": (found(replace(RECORD, name="")), Step.LEAVE),
    "known to be done": (found(ended=DONE), Step.LEAVE),
    "known to be done, of a success": (found(ended=DONE, state="success"), Step.LEAVE),
    "another is done": (found(ended={**DONE, "name": "operations/y"}), Step.LOOK),
    "seen running last": (found(ended={**DONE, "done": False}), Step.LOOK),
    "done, somebody says": (found(ended={**DONE, "done": "true"}), Step.LOOK),
    "an odd XCom": (found(ended=[1]), Step.LOOK),
    "its XCom says so, too": (found(named="operations/x"), Step.LOOK),
    "its XCom says another": (found(named="operations/y"), Step.SHOW),
    "settled": (found(note=note(settled=True)), Step.LEAVE),
    "settled, another": (found(note=note(settled=True, of="id operations/y")), Step.LOOK),
    "claimed": (found(note=note(due_epoch_s=NOW + 1)), Step.WAIT),
    "no longer claimed": (found(note=note(due_epoch_s=NOW)), Step.LOOK),
    "claimed, another": (found(note=note(due_epoch_s=NOW + 1, of="id operations/y")), Step.LOOK),
}


@pytest.mark.parametrize(("what", "step"), CASES.values(), ids=CASES.keys())
def test_judgement(what: Found, step: Step) -> None:
    """The table."""
    assert judge(what, NOW).step is step


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        {},
        {**note().to_json(), "version": 2},
        {**note().to_json(), "settled": "yes"},
        {**note().to_json(), "due_epoch_s": float("inf")},
        {**note().to_json(), "cancels": "3"},
        {**note().to_json(), "of": None},
    ],
    ids=repr,
)
def test_a_note_of_others_counts_for_nothing(value: Any) -> None:
    """Who edits a task's state may write anything there."""
    assert Note.from_json(value) is None


def test_a_note_is_read_again() -> None:
    """What a sweep has written, the next one reads."""
    one = note(settled=True, due_epoch_s=NOW, cancels=3)
    assert Note.from_json(one.to_json()) == one


# --- what a service has under its name --------------------------------------------------------------------------

HOUR = 3600
ANSWERED = replace(RECORD, answered_epoch_s=NOW - 890)
SENSOR = {"key": SENSOR_RECORD_KEY}


def created(at: float) -> dict[str, Any]:
    return {"metadata": {"createTime": datetime.fromtimestamp(at, timezone.utc).isoformat()}}


@pytest.mark.parametrize(
    ("record", "more", "seen", "said"),
    [
        pytest.param(ANSWERED, {}, {}, "", id="it says nothing"),
        pytest.param(
            ANSWERED, {}, {"metadata": {"createTime": "today"}, "state": "X"}, "", id="nothing readable"
        ),
        pytest.param(ANSWERED, {}, {"state": "READY"}, "looks like a resource", id="a resource"),
        pytest.param(ANSWERED, {}, created(NOW - 895), "", id="its own"),
        pytest.param(ANSWERED, {}, created(NOW - 900 - HOUR + 1), "", id="a clock is slow"),
        pytest.param(ANSWERED, {}, created(NOW - 890 + HOUR - 1), "", id="a clock is fast"),
        pytest.param(ANSWERED, {}, created(NOW - 900 - HOUR - 1), "another time", id="older"),
        pytest.param(ANSWERED, {}, created(NOW - 890 + HOUR + 1), "another time", id="younger"),
        pytest.param(RECORD, {}, created(NOW + HOUR), "", id="when it was answered isn't known"),
        pytest.param(RECORD, SENSOR, created(NOW - 1e6), "", id="a sensor's, of long ago"),
        pytest.param(RECORD, SENSOR, created(NOW - 900 + HOUR + 1), "another time", id="a sensor's, younger"),
    ],
)
def test_another(record: Record, more: dict[str, Any], seen: dict[str, Any], said: str) -> None:
    """What isn't an operation, or was created when the task can't have started it, isn't cancelled."""
    why = another(
        replace(found(record), **more), record, Operation.from_json({"name": "operations/x", **seen})
    )
    assert (said in why, bool(why)) == (True, bool(said))


# --- whose it is -----------------------------------------------------------------------------------------------

TASK = {
    "task_id": "task",
    "_task_module": "airflow_provider_operations.operators.run",
    "operations_conn_id": "service",
    "path_prefix": "v1",
    "path": "things/{{ ds }}:run",
}
LINKED = {"_task_module": "mine", "_operator_extra_links": {"Service Console": "_link_OperationLink"}}
MAPPED = {
    **{key: value for key, value in TASK.items() if key not in SERVICE_FIELDS},
    "_is_mapped": True,
    "partial_kwargs": {"operations_conn_id": "service", "path_prefix": "v1", "cancel_on_kill": False},
    "expand_input": {"type": "dict-of-lists", "value": {"__var": {"path": ["a", "b"]}, "__type": "dict"}},
}
FIELDS = {"operations_conn_id": "service", "path_prefix": "v1"}
BY_NAME = {"type": "dict-of-lists", "value": {"__var": {"operations_conn_id": ["a"]}, "__type": "dict"}}


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        pytest.param(TASK, FIELDS, id="ours"),
        pytest.param({**TASK, **LINKED}, FIELDS, id="a subclass"),
        pytest.param({**TASK, "_task_module": "mine"}, None, id="another"),
        pytest.param(
            {**TASK, "_task_module": "airflow_provider_operations_of_mine.x"}, None, id="named alike"
        ),
        pytest.param({**TASK, "base_url": "http://{{ var.value.x }}"}, {}, id="a template"),
        pytest.param({**TASK, "base_url": {"__type": "x"}}, {}, id="not text"),
        pytest.param({**TASK, "operation_name": "o/x"}, {**FIELDS, "operation_name": "o/x"}, id="a sensor"),
        pytest.param({**TASK, "operation_name": "{{ ti.x }}"}, FIELDS, id="a sensor with a template"),
        pytest.param(MAPPED, FIELDS, id="mapped"),
        pytest.param(
            {**MAPPED, "partial_kwargs": {}}, {"operations_conn_id": "operations_default"}, id="by default"
        ),
        pytest.param({**MAPPED, "expand_input": BY_NAME}, {}, id="mapped over services"),
        pytest.param({**MAPPED, "expand_input": {"type": "list-of-dicts"}}, {}, id="mapped over anything"),
    ],
)
def test_own_fields(task: dict[str, Any], fields: dict[str, Any] | None) -> None:
    """A task's arguments in its DAG's code, if it is one of ours and they are no templates."""
    assert own_fields(task) == fields


@pytest.mark.parametrize("field", SERVICE_FIELDS)
def test_each_field_forged(field: str) -> None:
    """A record leads nowhere but where the task's arguments do, whichever field is forged."""
    assert stranger(RECORD, [SERVICE]) == ""
    forged = replace(RECORD, service={**SERVICE, field: 2 if field == "error_format" else "forged"})
    assert stranger(forged, [SERVICE]) == "its record leads to another service than the task's arguments"
    left_out = replace(RECORD, service={key: value for key, value in SERVICE.items() if key != field})
    assert bool(stranger(left_out, [SERVICE])) is (field in FIELDS)


def test_rendered_or_literal() -> None:
    """Either will do; without both nothing is known."""
    other = {**SERVICE, "path_prefix": "v2"}
    assert stranger(RECORD, [other, SERVICE]) == ""
    assert stranger(RECORD, [SERVICE, {}]) == ""
    assert stranger(RECORD, [other]) != ""
    assert "no longer" in stranger(RECORD, [])
    assert "no longer" in stranger(RECORD, [{}])
    assert "doesn't say" in stranger(replace(RECORD, service={}), [SERVICE])


def test_the_name_forged() -> None:
    """A sensor's argument says which operation it waits for."""
    assert stranger(RECORD, [{**SERVICE, "operation_name": "operations/x"}]) == ""
    assert "another operation" in stranger(RECORD, [{**SERVICE, "operation_name": "operations/y"}])
