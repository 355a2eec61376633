"""Mutants: what is changed is there, and the search sees that it is."""

from __future__ import annotations

import pytest

from airflow_provider_operations._lifecycle import plan as plans
from airflow_provider_operations._tasks import starting
from airflow_provider_operations._tasks.base import BaseOperationOperator
from airflow_provider_operations.triggers import _kill

from .hunting import hunt, table
from .mutants import MUTANTS
from .mutation import Mutant, NotInSourceError

CLEARS = Mutant(
    "clears", "_lifecycle.plan:plan", "cleared = record.max_tries != facts.max_tries", "cleared = False"
)


def test_names_differ() -> None:
    """A name says which mutant was found."""
    assert len({one.name for one in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_the_source_has_what_is_changed(mutant: Mutant) -> None:
    """A mutant whose text is gone would look like one that isn't found."""
    with mutant.applied():
        pass


def test_what_is_imported_by_name_is_changed() -> None:
    """A function is changed wherever the package has it, and for the time being."""
    before = plans.plan
    with CLEARS.applied():
        assert vars(starting)["plan"] is plans.plan is not before
        assert plans.plan(None, None, None).step is plans.Step.START
    assert vars(starting)["plan"] is plans.plan is before


def test_lines_stay_where_they_are() -> None:
    """So a trace function tells the same lines."""
    before = BaseOperationOperator.on_kill.__code__
    with Mutant("m", "_tasks.base:BaseOperationOperator.on_kill", "self._killed = True", "return").applied():
        after = BaseOperationOperator.on_kill.__code__
    assert (after.co_filename, after.co_firstlineno) == (before.co_filename, before.co_firstlineno)
    assert after.co_code != before.co_code


def test_a_constant_is_changed() -> None:
    """By its value in the source."""
    with Mutant("m", "triggers._kill:REFUSED_FOR_S", "30.0", "0.0").applied():
        assert _kill.REFUSED_FOR_S == 0.0
    assert _kill.REFUSED_FOR_S == 30.0


@pytest.mark.parametrize(
    ("place", "old"),
    [
        ("_lifecycle.plan:plan", "cleared = something else"),
        ("_lifecycle.plan:plan", "return"),  # several
        ("_lifecycle.plan:no_such_function", "cleared"),
        ("_lifecycle.no_such_module:plan", "cleared"),
        ("triggers._kill:REFUSED_FOR_S", "31.0"),
    ],
)
def test_what_isnt_there_fails(place: str, old: str) -> None:
    """A mutant that changes nothing fails, instead of being looked for in vain."""
    with pytest.raises(NotInSourceError), Mutant("m", place, old, "").applied():
        pytest.fail("it was applied")


def test_one_is_found() -> None:
    """The search finds a mutant, with a schedule that breaks nothing without it."""
    found = hunt(CLEARS, seed=1)
    assert found.plan is not None
    assert "clear" in str(found.plan)
    assert "starts" in found.violation or "started" in found.violation or "runs" in found.violation
    assert "clears" in table([found], "head")


def test_what_isnt_found_is_said() -> None:
    """A change that changes nothing isn't found, and the table says so."""
    harmless = Mutant("harmless", "_lifecycle.plan:plan", "cleared = record", "cleared = record")
    found = hunt(harmless, seed=1, limit_s=0.1)
    assert found.plan is None
    assert "not found: 1" in table([found], "head")
