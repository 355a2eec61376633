"""Mutants: what is changed is there, and the search sees that it is."""

from __future__ import annotations

import pytest

from airflow_provider_operations._lifecycle import plan as plans
from airflow_provider_operations._tasks import starting
from airflow_provider_operations._tasks.base import BaseOperationOperator
from airflow_provider_operations.triggers import _kill

from .hunting import gather, hunt, kept, table
from .moments import plan_at
from .mutants import MUTANTS
from .mutation import Mutant, NotInSourceError, probed
from .schedule import play
from .world import Plan

CLEARS = Mutant(
    "clears", "_lifecycle.plan:plan", "cleared = record.max_tries != facts.max_tries", "cleared = False"
)


SHOWN = [
    (
        "what was cleared and can't be cancelled is forgotten",
        "deferred",
        1,
        [
            ("GET get leaves", "clear"),
            ("worker [2-9] (GET get|POST cancel) leaves", "server forbids for 8 s"),
        ],
    ),
    (
        "the store's silence is no record",
        "synchronous",
        1,
        [("GET get leaves", "kill worker"), ("worker 2 GetTaskStateStore leaves", "API away for 20 s")],
    ),
    (
        "a retry believes at once that there is no record",
        "synchronous",
        1,
        [
            ("GET get leaves", "kill worker"),
            ("worker 2 GetTaskStateStore leaves", "record not found for 8 s"),
        ],
    ),
    (
        "the record is asked for once",
        "synchronous",
        1,
        [("GET get leaves", "kill worker"), ("worker 2 GetTaskStateStore leaves", "API away for 20 s")],
    ),
    (
        "what can't be noted is cancelled, though its request id finds it",
        "synchronous",
        5,
        [("POST run is answered", "task state store away for 90 s")],
    ),
    (
        "the last try leaves what it can't note to the next one",
        "synchronous, no retries, swept",
        5,
        [("POST run is answered", "task state store away for 90 s")],
    ),
    (
        "what can't be noted, and has no request id, runs on",
        "synchronous, no request id",
        5,
        [("POST run is answered", "task state store away for 90 s")],
    ),
    (
        "a start without a request id is sent again",
        "synchronous, no request id",
        1,
        [("POST run leaves", "answer lost")],
    ),
    (
        "what the service has forgotten is started again",
        "synchronous",
        5,
        [("GET get leaves", "kill worker", 6), ("-> scheduled", "server forgets")],
    ),
    (
        "workers ask Airflow in the signal handler",
        "synchronous",
        1,
        [("SetXCom leaves", "mark failed at a heartbeat")],
    ),
    (
        "a refused cancel is refused for good",
        "deferred",
        1,
        [
            ("triggerer . GET get leaves", "mark failed"),
            ("triggerer . POST cancel leaves", "server refuses cancels for 20 s"),
        ],
    ),
    (
        "triggers ask Airflow once",
        "deferred",
        1,
        [
            ("triggerer . GET get leaves", "mark failed"),
            ("triggerer . GetTaskStates leaves", "triggers unanswered for 40 s"),
        ],
    ),
    (
        "triggers don't ask on while the task is between two stays",
        "deferred, clears drop task state",
        1,
        [("triggerer . GET get leaves", "clear")],
    ),
    (
        "a triggerer that ends cancels nothing more",
        "deferred",
        1,
        [("triggerer . GET get leaves", "mark failed"), ("triggerer . GET get leaves", "end triggerer")],
    ),
    (
        "an outage counts while the process stands still",
        "deferred",
        5,
        [
            ("triggerer . GET get leaves", "server says 503 for 8 s", 3),
            ("triggerer . GET get (leaves|is answered: 503)", "freeze triggerer", 1),
        ],
    ),
    (
        "outages add up",
        "deferred",
        5,
        [("GET get leaves", "answer lost", 3), ("GET get leaves", "answer lost", 7)],
    ),
    (
        "triggers don't see that the task has another operation",
        "deferred, clears drop task state",
        6,
        [("triggerer . GET get leaves", "clear")],
    ),
    (
        "triggers act for a task without a record as for one with",
        "deferred, no record",
        1,
        [("triggerer . GET get leaves", "clear"), ("airflow", "end triggerer", 3)],
    ),
    (
        "the deadline begins anew with each try",
        "synchronous, times out once",
        2,
        [("GET get leaves", "kill worker", 7)],
    ),
    (
        "a sweep doesn't wait until a task has been over for a while",
        "deferred, swept",
        6,
        [("triggerer . GET get leaves", "task vanishes for 20 s")],
    ),
    ("a sweep cancels what was handed on", "hands its operation on, swept", 1, []),
    (
        "a sweep cancels what isn't to be cancelled without a task",
        "poking sensor, no retries, swept",
        5,
        [("GET get leaves", "server refuses for 20 s", 2)],
    ),
    (
        "a sweep takes no answer for an end",
        "synchronous, no retries, swept",
        1,
        [("GET get leaves", "kill worker"), ("sweep . GET get leaves", "server says 503 for 8 s")],
    ),
    (
        "a sweep cancels what isn't confirmed",
        "poking sensor, no retries, swept",
        5,
        [("worker . GET get leaves", "kill worker", 2), ("sweep . confirm leaves", "clear")],
    ),
    (
        "a sweep cancels nothing",
        "synchronous, no retries, swept",
        1,
        [("GET get leaves", "kill worker")],
    ),
]
"""Of mutants that take two faults, or a rare moment: name, form, seed, and the moments of a plan that shows each."""


@pytest.mark.parametrize(("name", "form", "seed", "moments"), SHOWN, ids=[row[0] for row in SHOWN])
def test_a_plan_shows_it(name: str, form: str, seed: int, moments: list[tuple[str, str]]) -> None:
    """The judge sees what is broken, and the package as it is breaks nothing in the same schedule."""
    plan = plan_at(form, seed, *moments)
    assert not (seen := play(plan)).violations, seen
    (mutant,) = [one for one in MUTANTS if one.name == name]
    with mutant.applied():
        assert play(plan).violations


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


def _at(place: str, old: str, new: str) -> Mutant:
    return Mutant("m", place, old, new)


_CANCELS = _at("triggers.operation:OperationTrigger.on_kill", "if self.cancel_on_kill:", "if False:")
_ALWAYS = _at("triggers._ownership:fate_of", 'if state == "deferred" and own == name:', "if True:")


@pytest.mark.parametrize(
    ("mutant", "moments", "reached"),
    [
        # What decides: both values are compared.
        (CLEARS, [("GET get leaves", "clear")], True),
        (CLEARS, [("GET get leaves", "kill triggerer")], False),
        # A condition that never holds: the block that it leads to.
        (_CANCELS, [("triggerer . GET get leaves", "mark failed")], True),
        (_CANCELS, [], False),
        # One that always holds: what is done otherwise.
        (_ALWAYS, [("triggerer . GET get leaves", "mark failed")], True),
        (_ALWAYS, [], False),
        # Anything else: the statement.
        (_at("_tasks.starting:StartsOperation._intent", "records.write(record)", "pass"), [], True),
    ],
)
def test_a_probe_tells_where_it_matters(
    mutant: Mutant, moments: list[tuple[str, str]], reached: bool
) -> None:
    """Not every schedule that comes to a function is worth playing with a mutant of it."""
    names: list[str] = []
    plan = plan_at("deferred", 1, *moments) if moments else Plan("deferred", 1)
    with probed([mutant], names.append):
        seen = play(plan)
    assert bool(names) is reached
    assert seen.trace == play(plan).trace


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_probe_compiles(mutant: Mutant) -> None:
    """With each mutant's text."""
    with probed([mutant], lambda _: None):
        pass


def test_what_is_gathered_comes_there() -> None:
    """Plans are kept by the mutants that they are of use for."""
    plans = gather(seed=1, schedules=200)
    assert len(plans) > 20
    names = set[str]()
    some = [(name, known[0]) for name, known in plans.items()]
    for name, plan in some[::8]:
        names.clear()
        with probed(MUTANTS, names.add):
            play(plan)
        assert name in names


def test_a_hunt_begins_with_what_is_known() -> None:
    """A plan that comes to the place."""
    plan = plan_at("deferred", 1, ("GET get leaves", "clear"))
    assert hunt(CLEARS, 1, [plan]).schedules == 1


def test_one_is_found() -> None:
    """The search finds a mutant, with a schedule that breaks nothing without it."""
    found = hunt(CLEARS, seed=1)
    assert found.plan is not None
    assert "clear" in str(found.plan)
    assert "starts" in found.violation or "started" in found.violation or "runs" in found.violation
    shown = table([found], "head")
    assert "clears" in shown
    assert kept(shown) == {"clears": shown.splitlines()[-1]}


def test_what_isnt_found_is_said() -> None:
    """A change that changes nothing isn't found, and the table says so."""
    harmless = Mutant("harmless", "_lifecycle.plan:plan", "cleared = record", "cleared = record")
    found = hunt(harmless, seed=1, limit_s=0.1)
    assert found.plan is None
    assert "not found: 1" in table([found], "head")


def test_other_rows_stay() -> None:
    """If only some are hunted for, the table keeps what was found of the others."""
    harmless = Mutant("harmless", "_lifecycle.plan:plan", "cleared = record", "cleared = record")
    found = hunt(harmless, seed=1, limit_s=0.1)
    rows = {
        CLEARS.name: "| clears | 3 | 0.1 | 2 starts | clear |",
        "gone": "| gone | 3 | 0.1 | not found | |",
    }
    shown = table([found], "head", [CLEARS, harmless], rows)
    assert rows[CLEARS.name] in shown
    assert "gone" not in shown
    assert "Mutants: 2; not found: 1." in shown
