"""``OperationRetryPolicy``, and what tasks do for retry policies."""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    TaskDeferred,
)
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryDecision

from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._tasks import base as waiting
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationCancelled,
    OperationEventError,
    OperationFailed,
    OperationFailedFinal,
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.operation import Code, Operation, Status
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.retry_policies import OperationRetryPolicy
from airflow_provider_operations.sensors import OperationSensor
from tests.support.tasks import Driver, StateStore, TaskInstance

from .test_operators import WAYS, kinds, run

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

RETRY, FAIL, DEFAULT = RetryAction.RETRY, RetryAction.FAIL, RetryAction.DEFAULT
TYPES = "type.googleapis.com/google.rpc."


def failed(code: Code | int, *details: Any, message: str = "out of disks") -> OperationFailed:
    status = Status(code, message, list(details))
    kind = OperationCancelled if code is Code.CANCELLED else OperationFailed
    return kind(Operation("operations/o", done=True, error=status))


def call(
    code: Code, http_status: int | None, *, transient: bool, after: float | None = None
) -> OperationsCallError:
    return OperationsCallError(
        CallFailure(
            "GET",
            "https://h/v1/operations/o",
            http_status,
            Status(code, "not now"),
            f"HTTP {http_status}",
            transient=transient,
            retry_after=None if after is None else timedelta(seconds=after),
        )
    )


def judged(error: OperationsError, *, final: bool) -> OperationsError:
    error.final = final
    return error


def decide(error: BaseException, **arguments: Any) -> RetryDecision:
    return OperationRetryPolicy(**arguments).evaluate(error, try_number=1, max_tries=3)


TIMEOUT = OperationTimeout("operations/o", timedelta(hours=1), None, "it has been cancelled")


@pytest.mark.parametrize("code", [*list(Code)[1:], 99])
def test_the_codes_worth_a_retry_are_retried_alone(code: Code | int) -> None:
    """Without arguments the codes worth a retry are retried, and no other."""
    assert decide(failed(code)).action is (RETRY if code in WORTH_A_RETRY else FAIL)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        pytest.param(TIMEOUT, RETRY, id="time-out"),
        pytest.param(call(Code.UNAVAILABLE, None, transient=True), RETRY, id="outage"),
        pytest.param(call(Code.RESOURCE_EXHAUSTED, 429, transient=True), RETRY, id="429"),
        pytest.param(call(Code.PERMISSION_DENIED, 403, transient=False), FAIL, id="403"),
        pytest.param(call(Code.UNKNOWN, 200, transient=False), FAIL, id="unreadable"),
        pytest.param(judged(failed(Code.CANCELLED), final=False), RETRY, id="own-kill"),
        pytest.param(judged(failed(Code.CANCELLED), final=True), FAIL, id="cancelled-by-others"),
        pytest.param(judged(failed(Code.NOT_FOUND), final=False), RETRY, id="operator's-retry_on"),
        pytest.param(judged(failed(Code.UNAVAILABLE), final=True), FAIL, id="not-in-operator's-retry_on"),
        pytest.param(OperationEventError("?"), DEFAULT, id="event"),
        pytest.param(OperationsError("killed"), DEFAULT, id="killed"),
        pytest.param(AirflowException("other"), DEFAULT, id="other"),
        pytest.param(KeyError("other"), DEFAULT, id="bug"),
    ],
)
def test_by_default_the_policy_decides_as_the_task_would(error: BaseException, action: RetryAction) -> None:
    """Without arguments the policy says what the task would do without a policy; what isn't ours is Airflow's."""
    assert decide(error).action is action


@pytest.mark.parametrize(
    ("arguments", "error", "action"),
    [
        ({"retry_on": ["NOT_FOUND"]}, failed(Code.NOT_FOUND), RETRY),
        ({"retry_on": ["NOT_FOUND"]}, failed(Code.UNAVAILABLE), FAIL),
        ({"retry_on": [5]}, judged(failed(Code.NOT_FOUND), final=True), RETRY),
        ({"retry_on": [5]}, judged(failed(Code.UNAVAILABLE), final=False), FAIL),
        ({"retry_on": [5]}, judged(failed(Code.CANCELLED), final=False), RETRY),
        ({"retry_on": [Code.CANCELLED]}, judged(failed(Code.CANCELLED), final=True), RETRY),
        ({"retry_on": [Code.PERMISSION_DENIED]}, call(Code.PERMISSION_DENIED, 403, transient=False), RETRY),
        ({"retry_on": [5]}, call(Code.UNAVAILABLE, 503, transient=True), RETRY),
        ({"retry_on": "NOT_FOUND"}, failed(Code.NOT_FOUND), RETRY),
        ({"retry_on": 5}, failed(Code.NOT_FOUND), RETRY),
        ({"fail_on": Code.UNAVAILABLE}, failed(Code.UNAVAILABLE), FAIL),
        ({"retry_on": []}, failed(Code.UNAVAILABLE), FAIL),
        ({"fail_on": ["UNAVAILABLE"]}, failed(Code.UNAVAILABLE), FAIL),
        ({"fail_on": ["UNAVAILABLE"]}, call(Code.UNAVAILABLE, 503, transient=True), FAIL),
        ({"fail_on": ["UNAVAILABLE"]}, failed(Code.ABORTED), RETRY),
        ({"fail_on": [14], "retry_on": [14]}, failed(Code.UNAVAILABLE), FAIL),
        ({"retry_timeouts": False}, TIMEOUT, FAIL),
    ],
)
def test_codes_can_be_chosen(arguments: dict[str, Any], error: OperationsError, action: RetryAction) -> None:
    """Codes to retry, codes to fail, and whether a time-out is retried can be said."""
    assert decide(error, **arguments).action is action


@pytest.mark.parametrize(
    "error",
    [
        failed(Code.UNAVAILABLE, {"@type": TYPES + "RetryInfo", "retryDelay": "90s"}),
        call(Code.UNAVAILABLE, 503, transient=True, after=90),
    ],
)
@pytest.mark.parametrize(
    ("maximum", "delay", "reason"),
    [
        (3600, 90, "retry in 0:01:30, as the server asks: "),
        (timedelta(seconds=60), 60, "retry in 0:01:00, the server asks for 0:01:30: "),
    ],
)
def test_the_servers_pause_is_kept(error: OperationsError, maximum: Any, delay: float, reason: str) -> None:
    """The pause is what the server asks for, up to a limit, and the reason says so."""
    decision = decide(error, max_delay=maximum)

    assert (decision.action, decision.retry_delay) == (RETRY, timedelta(seconds=delay))
    assert (decision.reason or "").startswith(reason)


@pytest.mark.parametrize("details", [[], [{"@type": TYPES + "RetryInfo", "retryDelay": "0s"}]])
def test_without_a_hint_the_tasks_retry_delay_holds(details: list[Any]) -> None:
    """Without a wish of the server's, the task's own retry_delay holds."""
    assert decide(failed(Code.UNAVAILABLE, *details)).retry_delay is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (failed(Code.UNAVAILABLE), "retry: the operation ended with UNAVAILABLE (14): out of disks"),
        (
            failed(Code.NOT_FOUND, {"@type": TYPES + "ErrorInfo", "reason": "NO_DISK", "domain": "d"}),
            "no retry: the operation ended with NOT_FOUND (5), NO_DISK: out of disks",
        ),
        (
            call(Code.PERMISSION_DENIED, 403, transient=False),
            "no retry: a GET request failed with PERMISSION_DENIED (7): HTTP 403: not now",
        ),
        (TIMEOUT, "retry: Operation operations/o was not over after 1:00:00; it has been cancelled"),
        (
            failed(Code.UNAVAILABLE, message="a\nb\x1b[31m"),
            "retry: the operation ended with UNAVAILABLE (14): a b\\x1b[31m",
        ),
    ],
)
def test_the_reason_is_one_line_for_people(error: OperationsError, reason: str) -> None:
    """The reason is one line for people: the decision, the code, what the server said."""
    assert decide(error).reason == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            failed(Code.UNAVAILABLE, {"@type": TYPES + "RetryInfo", "retryDelay": "90s"}),
            "no retries are left: the operation ended with UNAVAILABLE (14): out of disks",
        ),
        (failed(Code.NOT_FOUND), "no retry: the operation ended with NOT_FOUND (5): out of disks"),
    ],
)
def test_on_the_last_try(error: OperationsError, reason: str) -> None:
    """Where Airflow retries no more, the log announces no retry."""
    decision = OperationRetryPolicy().evaluate(error, try_number=4, max_tries=3)

    assert decision.reason == reason
    assert decision.action is not RETRY


def test_long_reason() -> None:
    """A reason has no more characters than Airflow keeps."""
    reason = decide(failed(Code.UNAVAILABLE, message="long\x00 " * 400)).reason

    assert reason is not None
    assert len(reason) == 500
    assert reason.endswith("…")


@pytest.mark.parametrize(
    "arguments",
    [{"retry_on": ["NO_SUCH_CODE"]}, {"fail_on": [None]}, {"max_delay": -1}, {"retry_on": [True]}],
)
def test_refused_arguments(arguments: dict[str, Any]) -> None:
    """What can't be meant is refused when the DAG is parsed."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        OperationRetryPolicy(**arguments)


def test_the_policy_survives_airflows_json() -> None:
    """The policy survives Airflow's JSON."""
    policy = OperationRetryPolicy(retry_on=["NOT_FOUND", 99], fail_on=[14], retry_timeouts=False, max_delay=5)
    again = OperationRetryPolicy.deserialize(json.loads(json.dumps(policy.serialize())))

    assert vars(again) == vars(policy)
    assert OperationRetryPolicy.deserialize(OperationRetryPolicy().serialize()).retry_on is None


# --- on tasks ------------------------------------------------------------------------------------------------


@WAYS
def test_with_a_policy_no_error_is_final(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """With a policy no error is one of Airflow's last words; ``final`` says what it would have been."""
    policy = OperationRetryPolicy()
    for code, final in ((9, True), (14, False)):
        script = {"duration": 5, "error": {"code": code, "message": "m"}}
        verdict = run(driver, deferrable=deferrable, script=script, retry_policy=policy)
        assert type(verdict.error) is OperationFailed
        assert verdict.error.final is final
        assert policy.evaluate(verdict.error, 1, 3).action is (FAIL if final else RETRY)
        assert verdict.xcoms["operation"]["error"]["code"] == code


def test_without_a_policy(emulator: Emulator, driver: Driver) -> None:
    """Without a policy the Final classes are raised as ever, and say so."""
    script = {"duration": 5, "error": {"code": 9, "message": "m"}}
    verdict = run(driver, deferrable=True, script=script)

    assert isinstance(verdict.error, OperationFailedFinal)
    assert verdict.error.final is True


def test_the_policy_is_asked_after_airflows_own_timeout(emulator: Emulator, moved: MovedClock) -> None:
    """The policy is asked, too, about a failure that is found only as Airflow's own timeout fires."""
    task: Any = RunOperationOperator(
        task_id="run",
        path="things:run",
        json={"operation": {"duration": 30, "error": {"code": 9, "message": "m"}}},
        deferrable=True,
        retry_policy=OperationRetryPolicy(),
    )
    where = {"ti": TaskInstance("run"), "task_state_store": StateStore()}
    with pytest.raises(TaskDeferred):
        task.execute(where)
    moved.sleep(300)

    with pytest.raises(OperationFailed) as error:
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, where)
    assert type(error.value) is OperationFailed


@pytest.mark.parametrize("deferrable", [True, False])
def test_cancel_operator(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """The cancel operator asks its policy, too."""
    arguments: dict[str, Any] = {
        "task_id": "t",
        "operation_name": "operations/none",
        "deferrable": deferrable,
    }
    asked = driver.run(lambda: CancelOperationOperator(**arguments, retry_policy=OperationRetryPolicy()))
    final = driver.run(lambda: CancelOperationOperator(**arguments))

    assert type(asked.error) is OperationsCallError
    assert asked.error.final is True
    assert type(final.error) is OperationsCallErrorFinal


def test_a_sensors_verdict_stays_final(emulator: Emulator, driver: Driver) -> None:
    """A sensor's verdict on a finished operation stays final; an outage is asked about."""
    policy = OperationRetryPolicy()
    script = {"duration": 5, "error": {"code": 14, "message": "m"}}
    name = run(driver, deferrable=False, script=script).xcoms["operation_name"]

    def sensor() -> OperationSensor:
        return OperationSensor(task_id="t", operation_name=name, retry_policy=policy, outage_tolerance=60)

    assert type(driver.run(sensor).error) is OperationFailedFinal
    emulator.script_fault(kind="get", status=503)
    outage = driver.run(sensor).error
    assert type(outage) is OperationsCallError
    assert policy.evaluate(outage, 1, 3).action is RETRY


@pytest.mark.parametrize(
    ("policy", "cancelled"),
    [
        (OperationRetryPolicy(), True),
        (OperationRetryPolicy(retry_on=["PERMISSION_DENIED"]), False),
        (ExceptionRetryPolicy(rules=[]), False),
    ],
    ids=["gives up", "retries", "not ours"],
)
def test_no_retry_means_a_cancel(emulator: Emulator, driver: Driver, policy: Any, *, cancelled: bool) -> None:
    """An operation that the policy won't have taken over by a retry is cancelled before the task fails."""
    emulator.script_fault(kind="get", status=403)
    verdict = driver.run(
        lambda: RunOperationOperator(
            task_id="t",
            path="things:run",
            json={"operation": {"duration": 500}},
            deferrable=True,
            retry_policy=policy,
        ),
        store=StateStore(),
    )

    assert type(verdict.error) is OperationsCallError
    assert not isinstance(verdict.error, AirflowFailException)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])


def test_in_a_dag() -> None:
    """A policy can be an argument, a default argument, or one of ``partial``."""
    policy = OperationRetryPolicy()
    with DAG(dag_id="policies", default_args={"retry_policy": policy}) as dag:
        RunOperationOperator(task_id="default", path="p")
        mapped: Any = RunOperationOperator.partial(task_id="mapped", path="p", retry_policy=policy).expand(
            json=[{}]
        )
        OperationSensor(task_id="sensor", operation_name="operations/o")
        CancelOperationOperator(task_id="cancel", operation_name="operations/o")

    assert all(dag.get_task(task_id).retry_policy is policy for task_id in ("default", "sensor", "cancel"))
    assert mapped.unmap({"json": {}}).retry_policy is policy


def test_before_airflow_3_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow without retry policies: one warning, no unknown argument."""
    # Where BaseOperator knows of no policy it would refuse the argument.
    monkeypatch.setattr(waiting, "TASKS_HAVE_RETRY_POLICIES", False)
    waiting._warn_of_policy.cache_clear()
    policy = OperationRetryPolicy()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run_it = RunOperationOperator(task_id="run", path="p", retry_policy=policy)
        OperationSensor(task_id="sensor", operation_name="operations/o", retry_policy=policy)
        CancelOperationOperator(task_id="cancel", operation_name="operations/o", retry_policy=policy)

    assert [str(warning.message) for warning in warned] == [
        "'retry_policy' needs Airflow 3.3 or later and has no effect: tasks are retried as without it"
    ]
    assert run_it.retry_policy is None
    waiting._warn_of_policy.cache_clear()
