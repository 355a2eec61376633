"""A record may have been edited by whoever may edit a task's state: it is read strictly, or not at all."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._lifecycle.record import MAX_EPOCH_S, Record, State

RECORD = Record(State.STARTED, 3, 1, "id", "digest", 1.8e9, 1.8e9 + 60, "operations/x", True, False)

TEXT: list[Any] = [None, 5, True, 1.5, [], {}, ["started"]]
COUNT: list[Any] = [None, "3", True, 1.0, -1, 2**31, 10**400, float("nan"), [], {}]
MOMENT: list[Any] = [None, "3", True, -1, -0.5, 2e13, 10**400, float("nan"), float("inf"), [], {}]
FLAG: list[Any] = [None, 0, 1, 1.0, "true", [], {}]

ODD = {
    "version": [*COUNT, 0, 2, 99],
    "state": [*TEXT, "", "unheard of", "STARTED"],
    "max_tries": COUNT,
    "try_number": COUNT,
    "request_id": TEXT,
    "digest": TEXT,
    "started_epoch_s": MOMENT,
    "answered_epoch_s": MOMENT,
    "deadline_epoch_s": MOMENT,
    "name": TEXT,
    "reattached": FLAG,
    "handed_on": FLAG,
    "final": FLAG,
    "sent_epoch_s": MOMENT,
    "doubtful": FLAG,
    "cancel_if_orphaned": FLAG,
    "service": [
        None,
        5,
        True,
        "http://x",
        [],
        {"base_url": []},
        {"error_format": 1.5},
        {"scopes": {"a": "b"}},
    ],
    "foreign": FLAG,
}


def test_every_field_is_in_the_table() -> None:
    """A new field needs its line."""
    assert set(ODD) == {"version", *(field.name for field in fields(Record))}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field in ODD for value in ODD[field]],
    ids=lambda shown: str(shown)[:20],
)
def test_each_field_refuses_what_is_not_of_its_type(field: str, value: Any) -> None:
    """Each field refuses what isn't of its type or can't be reckoned with."""
    with pytest.raises(ValueError, match="it is unknown whether an operation is running") as refused:
        Record.from_json({**RECORD.to_json(), field: value})
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("field", ["state", "max_tries", "started_epoch_s", "deadline_epoch_s", "version"])
def test_a_record_without_a_needed_field_is_refused(field: str) -> None:
    """So does one without which nothing can be said."""
    record = RECORD.to_json()
    del record[field]
    with pytest.raises(ValueError, match="can't be read"):
        Record.from_json(record)


@pytest.mark.parametrize("value", [5, "x", [], {}, True, 1.5, [["version", 1]]], ids=repr)
def test_what_is_no_object_is_no_record(value: Any) -> None:
    """What isn't an object is none, but ``None``, which the store has for nothing."""
    with pytest.raises(ValueError, match="can't be read"):
        Record.from_json(value)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"service": {"base_url": None, "path_prefix": "", "error_format": 2}},
        {"of_later": {"a": [1]}},
        {"deadline_epoch_s": MAX_EPOCH_S, "started_epoch_s": 0},
        {"name": ""},
    ],
    ids=str,
)
def test_what_was_written_is_read_again(more: dict[str, Any]) -> None:
    """What was written is read again, also by a version that knows fewer fields."""
    record = Record.from_json({**RECORD.to_json(), **more})
    assert record.to_json() == {**RECORD.to_json(), **{key: more[key] for key in more if key != "of_later"}}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(ODD)), _JSON), st.booleans())
def test_any_value_is_a_record_or_the_one_error(edited: dict[str, Any], whole: bool) -> None:
    """Whatever stands there: a record that can be reckoned with, or the one error."""
    try:
        record = Record.from_json({**RECORD.to_json(), **edited} if whole else edited)
    except ValueError:
        return
    assert Record.from_json(record.to_json()) == record


def test_a_record_of_before_sweeps_is_left_alone_by_them() -> None:
    """Who has written a record without these fields hasn't said that a sweep may cancel its operation."""
    old = RECORD.to_json()
    del old["cancel_if_orphaned"], old["service"]
    record = Record.from_json(old)
    assert (record.cancel_if_orphaned, record.service) == (False, {})
