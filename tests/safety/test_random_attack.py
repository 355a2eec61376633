"""
A random attack: whatever a server answers, who asks gets a value or a documented error, in time, for a bounded price.

``FUZZ=5000`` (``make fuzz``) takes so many examples of each; ``FUZZ_BYTES`` says how long their bodies may be.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import MAX_EVENT_CHARS, Outcome
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsError, error_of_call
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.endless import within
from tests.support.tasks import taken_by_airflow
from tests.versions import AIRFLOW

from .attacks import ATTACK, MOST_BYTES, NAME, SECRET, Attack, Attacker, attacks
from .costs import MOST_LOOP_S, Meter, memory_of
from .test_control_characters import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clocks import MovedClock

pytestmark = pytest.mark.slow

ONCE = Retries(attempts=1, delay_s=0)

TIMEOUT_S = 0.4
"""The connection's ``timeout``."""

WITHIN_S = 30.0
"""It is over by then, or hangs; a call may make two requests, and a busy machine is slow."""

MOST_MEMORY_BYTES = 32 * 2**20 + 64 * MOST_BYTES
"""
Most memory for one call. The package reads 8 MiB at most, of which there may be a packed and an unpacked copy and pieces;
and Python's objects are up to 30 times as long as the JSON that they were, with one copy of them without secrets.
"""


@pytest.fixture
def attacker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attacker]:
    """A server behind the connection ``ops``."""
    server = Attacker()
    with server:
        fields = {"conn_type": "operations", "host": server.url, "password": SECRET}
        monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({**fields, "extra": {"timeout": TIMEOUT_S}}))
        yield server


def documented(error: BaseException) -> None:
    """Assert that an error is one that README names, and says nothing that it mustn't."""
    assert isinstance(error, OperationsError), repr(error)
    text = str(error)
    clean(text)
    assert SECRET not in text
    assert str(pickle.loads(pickle.dumps(error))) == text


def told(result: Any) -> None:
    """Assert that what was returned is a value, or a failure that can be shown."""
    if isinstance(result, CallFailure):
        documented(error_of_call(result, NAME))
    elif isinstance(result, tuple):  # of test_connection
        clean(result[1])
        assert SECRET not in result[1]
    elif isinstance(result, list):
        for one in result:
            assert isinstance(one, Operation)
    else:
        assert result is None or isinstance(result, Operation), result


# --- hooks -----------------------------------------------------------------------------------------------------

CALLS: dict[str, tuple[Any, ...]] = {
    "poll": (NAME,),
    "get_operation": (NAME,),
    "wait_operation": (NAME, 0.1),
    "list_operations": ("projects/p",),
    "start_operation": ("projects/p/things:run",),
    "cancel_operation": (NAME,),
    "try_cancel": (NAME,),
    "delete_operation": (NAME,),
    "test_connection": (),
}
calls = st.sampled_from(sorted(CALLS))


def by_hook(call: str) -> None:
    with OperationsHook("ops", retries=ONCE) as hook:
        try:
            result = getattr(hook, call)(*CALLS[call])
            told(list(result) if call == "list_operations" else result)
        except OperationsError as error:
            documented(error)


async def by_async_hook(call: str) -> None:
    async with OperationsAsyncHook("ops", retries=ONCE) as hook:
        try:
            asked = getattr(hook, call)(*CALLS[call])
            told([one async for one in asked] if call == "list_operations" else await asked)
        except OperationsError as error:
            documented(error)


def ended(call: Callable[[], Any]) -> Any:
    """Return what a call returns, in time; raise what it raises."""
    result = within(WITHIN_S, call)
    if isinstance(result, BaseException):
        raise result
    return result


@ATTACK
@given(attack=attacks(), call=calls, memory=st.booleans())
def test_the_sync_hook_raises_ours(attacker: Attacker, attack: Attack, call: str, *, memory: bool) -> None:
    """Whatever comes, a worker's call returns a value or raises one of our errors, and memory stays bounded."""
    attacker.attack = attack
    if memory:
        assert memory_of(lambda: ended(lambda: by_hook(call))) < MOST_MEMORY_BYTES
    else:
        ended(lambda: by_hook(call))


@ATTACK
@given(attack=attacks(), call=calls, memory=st.booleans())
def test_the_loop_goes_on(
    attacker: Attacker, meter: Meter, attack: Attack, call: str, *, memory: bool
) -> None:
    """So does a triggerer's, whose event loop isn't held up."""
    attacker.attack = attack

    def ask() -> None:
        ended(lambda: asyncio.run(by_async_hook(call)))

    if memory:
        assert memory_of(ask) < MOST_MEMORY_BYTES
    else:
        assert meter.loop_s(ask) < MOST_LOOP_S


# --- a trigger -------------------------------------------------------------------------------------------------


async def by_trigger(poll_with: str, tolerance_s: float) -> Any:
    trigger = OperationTrigger(
        NAME,
        operations_conn_id="ops",
        poll_with=poll_with,
        outage_tolerance_s=tolerance_s,
        deadline_epoch_s=clock.now() + 3,
    )
    (event,) = [event async for event in trigger.run()]
    return event.payload


@ATTACK
@given(
    attack=attacks(),
    poll_with=st.sampled_from(["get", "get", "list", "wait"]),
    tolerance_s=st.sampled_from([0.0, 600.0]),
    memory=st.booleans(),
)
def test_a_trigger_yields_exactly_one_event(
    attacker: Attacker,
    meter: Meter,
    moved: MovedClock,
    attack: Attack,
    poll_with: str,
    tolerance_s: float,
    *,
    memory: bool,
) -> None:
    """A trigger yields exactly one event, which Airflow can store and a worker reads."""
    attacker.attack = attack
    payloads = []

    def wait() -> None:
        payloads.append(ended(lambda: asyncio.run(by_trigger(poll_with, tolerance_s))))

    if memory:
        assert memory_of(wait) < MOST_MEMORY_BYTES
    else:
        assert meter.loop_s(wait) < MOST_LOOP_S
    assert len(json.dumps(payloads[-1])) < 2 * MAX_EVENT_CHARS  # JSON text within JSON has its quotes escaped
    outcome = Outcome.from_event(taken_by_airflow(payloads[-1]))
    if outcome.failure is not None:
        documented(error_of_call(outcome.failure, NAME))


# --- the tab ---------------------------------------------------------------------------------------------------

MOST_SHOWN_BYTES = 4 * 2**20
"""A page that a browser still draws."""


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.1 or later: the UI has plugins")
@ATTACK
@given(attack=attacks(), cancel=st.booleans(), memory=st.booleans())
def test_the_tab_shows_something(attacker: Attacker, attack: Attack, *, cancel: bool, memory: bool) -> None:
    """The tab gets an operation or a problem to show, as JSON for browsers, without credentials."""
    with warnings.catch_warnings():  # of what Airflow's API server imports of its own
        warnings.simplefilter("ignore")
        from airflow_provider_operations._connection.options import ServiceOptions
        from airflow_provider_operations.ui import live as asking
        from airflow_provider_operations.ui.app import _shown
        from airflow_provider_operations.ui.tasks import Seen, TaskKey

    attacker.attack = attack
    target = asking.Target(NAME, ServiceOptions("ops"))
    seen = Seen("running", 1, None, None, NAME, False, target, None)

    def look() -> None:
        answered = asking.cancel_at_service(target) if cancel else asking.ask_service(target)
        assert "in Airflow's API server, see its log" not in (answered.problem or "")
        assert cancel or (answered.operation is None) != (answered.problem is None)
        shown = _shown(TaskKey("d", "r", "t"), seen, None, answered, may_edit=True)
        text = json.dumps(shown, allow_nan=False, ensure_ascii=False)
        assert len(text.encode()) < MOST_SHOWN_BYTES
        named = (
            answered.operation is not None and SECRET in answered.operation.name
        )  # names stay as they came
        assert named or SECRET not in text
        clean(shown["problem"] or "")

    if memory:
        assert memory_of(lambda: ended(look)) < MOST_MEMORY_BYTES
    else:
        ended(look)
