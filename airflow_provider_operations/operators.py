"""Operators that start and cancel operations."""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_operations import clock
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationsCallError,
    OperationsError,
    OperationTimeout,
    error_of_call,
)
from airflow_provider_operations.operation import Code, Operation
from airflow_provider_operations.outcome import Kind, Outcome, ending
from airflow_provider_operations.retries import Retries
from airflow_provider_operations.waiting import CANCEL_BUDGET_S, WaitsForOperation, as_seconds
from airflow_provider_operations.xcoms import OPERATION_KEY, OPERATION_NAME_KEY, operation_xcom

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_operations.wire import CallFailure

__all__ = ["CancelOperationOperator", "RunOperationOperator"]

_WEEK_S = 7 * 24 * 3600.0


class RunOperationOperator(WaitsForOperation, BaseOperator):
    """
    Start an operation, wait until it is over, return its response.

    XCom: ``operation_name``, pushed before it waits; ``operation``, the final resource without the response, on
    success and failure. The return value is the response (the name, with ``wait_for_completion=False``).

    :param path: what to call, below the path prefix (``projects/p/builds``); with a leading ``/`` below the base
        URL. (templated)
    :param method: HTTP method of the start call.
    :param json: JSON body of the start call. (templated)
    :param params: query parameters of the start call (not Airflow's params: those of the DAG are left out, and
        with them one that equals a DAG param in name and value). (templated, as ``query``)
    :param headers: headers of the start call, beside the connection's. (templated)
    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this and the next four: instead of what the connection says. (``base_url`` and
        ``path_prefix`` templated)
    :param deferrable: wait in the triggerer; without, the worker is held.
    :param poke_interval: longest pause between polls; they begin at 1 s. At least 1 s.
    :param timeout: from the start of the operation, over all restarts; default 7 days. ``execution_timeout``
        counts too, whichever is shorter.
    :param outage_tolerance: how long the server may not answer; default 10 min.
    :param cancel_on_kill: cancel the operation when the task is marked, cleared or terminated.
    :param cancel_on_timeout: cancel it when the time is up.
    :param wait_for_completion: ``False`` hands the name on to a sensor.
    :param request_id_field: where the service takes a request id (``requestId``; dotted in a body), by which it
        recognises a repeated start.
    :param request_id_in: ``query`` or ``body``.
    :param retry_on: codes of operation errors that Airflow may retry, instead of ``WORTH_A_RETRY``.

    :raises OperationFailed: the operation failed; its Final twin where a retry would not help.
    :raises OperationTimeout: it was not over in time.
    :raises OperationsCallError: the server refused, or didn't answer for too long.
    """

    template_fields: Sequence[str] = (
        "path",
        "json",
        "query",
        "headers",
        "operations_conn_id",
        "base_url",
        "path_prefix",
    )
    template_fields_renderers = {"json": "json", "query": "json", "headers": "json"}  # noqa: RUF012  as Airflow's
    ui_color = "#dbeafe"

    def __init__(
        self,
        *,
        path: str,
        method: str = "POST",
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = _WEEK_S,
        outage_tolerance: timedelta | float = 600.0,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        wait_for_completion: bool = True,
        request_id_field: str | None = None,
        request_id_in: str = "query",
        retry_on: Collection[Code | int | str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if request_id_in not in {"query", "body"}:
            raise ValueError(f"'request_id_in' is 'query' or 'body', not {request_id_in!r}")
        self.path = path
        self.method = method
        self.json = json
        self.query = _own_params(params, kwargs.get("dag"))
        self.headers = headers
        self.deferrable = deferrable
        self.poke_interval = as_seconds("poke_interval", poke_interval)
        self.timeout = as_seconds("timeout", timeout)
        self.wait_for_completion = wait_for_completion
        self.request_id_field = request_id_field
        self.request_id_in = request_id_in
        self.retry_on = WORTH_A_RETRY if retry_on is None else frozenset(map(_code, retry_on))
        self._keep_waiting_arguments(
            outage_tolerance=outage_tolerance,
            cancel_on_kill=cancel_on_kill,
            cancel_on_timeout=cancel_on_timeout,
            service={
                "operations_conn_id": operations_conn_id,
                "base_url": base_url,
                "path_prefix": path_prefix,
                "cancel_suffix": cancel_suffix,
                "cancel_method": cancel_method,
                "error_format": error_format,
            },
        )

    def execute(self, context: Context) -> Any:
        """Start the operation and wait for it, or hand the waiting over to a trigger."""
        started_epoch_s = clock.now()
        try:
            operation = self._start()
            if operation.name:
                self._push(context, OPERATION_NAME_KEY, operation.name)
                self.log.info("%s: started", operation.name)
            if not self.wait_for_completion:
                self._push(context, OPERATION_KEY, operation_xcom(operation))
                return operation.name
            watch = self._watch_for(operation.name, started_epoch_s, created_epoch_s=started_epoch_s)
            outcome = watch.judge(operation, clock.now())
            if not isinstance(outcome, Outcome):
                if self.deferrable:
                    self._defer_for(watch)
                outcome = self.hook.watch(watch)
        except AirflowTaskTimeout:
            outcome = self._execution_timed_out(started_epoch_s)
        return self._deliver(context, outcome)

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> Any:
        """Resume with the trigger's event."""
        return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))

    def _is_final(self, failed: Operation | CallFailure) -> bool:
        if getattr(self, "retry_policy", None) is not None:
            return False  # Airflow asks the policy only about errors that aren't final
        if isinstance(failed, Operation) and failed.error and failed.error.code in self.retry_on:
            return False
        return super()._is_final(failed)

    def _start(self) -> Operation:
        """
        Send the start call from a thread of its own.

        A signal interrupts the main thread anywhere; here the answer is kept, and ``on_kill`` waits for it.
        """
        hook = self.hook
        body, query = self.json, dict(self.query or {})
        if self.request_id_field:
            body, query = _with_request_id(
                body, query, self.request_id_field, self.request_id_in, str(uuid.uuid4())
            )
        answer: Future[Operation] = Future()

        def start() -> None:
            try:
                if self._killed:
                    raise OperationsError("the task was killed before the operation was started")  # noqa: TRY301
                operation = hook.start_operation(
                    self.path,
                    method=self.method,
                    json=body,
                    params=query,
                    headers=self.headers,
                    repeatable=self.request_id_field is not None,
                    retries=Retries(
                        attempts=None, for_s=self.outage_tolerance, abandoned=lambda: self._killed
                    ),
                )
            except BaseException as error:  # noqa: BLE001  handed to the thread that waits
                answer.set_exception(error)
            else:
                answer.set_result(operation)

        self._operation = answer
        Thread(target=start, name="start", daemon=True).start()
        try:
            return answer.result()
        except OperationsCallError as error:
            raise error_of_call(error.failure, final=self._is_final(error.failure)) from None

    def _execution_timed_out(self, started_epoch_s: float) -> Outcome:
        """Make the outcome of an ``execution_timeout``; an answer to the start is still waited for."""
        waited_s = clock.now() - started_epoch_s
        if self._operation is None:
            raise OperationTimeout("(not started)", timedelta(seconds=waited_s))
        try:
            operation = self._operation.result(timeout=CANCEL_BUDGET_S)
        except FutureTimeoutError:
            self._killed = True
            note = "the start was not answered, so it may be running"
            raise OperationTimeout("(unknown)", timedelta(seconds=waited_s), None, note) from None
        return Outcome(Kind.TIMED_OUT, operation.name, operation, waited_s=waited_s)


class CancelOperationOperator(WaitsForOperation, BaseOperator):
    """
    Cancel an operation, wait until it is over, say how it ended.

    An operation that was over already, or ended otherwise than by the cancellation, is no error.
    Returns ``{"name": str, "ended": "cancelled" | "succeeded" | "failed with ..."}``; with
    ``wait_for_completion=False`` ``ended`` is None. XCom ``operation``: the final resource.

    :param operation_name: e.g. the XCom of the task that started it. (templated)
    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this and the next four: instead of what the connection says.
    :param wait_for_completion: ``False`` only asks.
    :param deferrable: wait in the triggerer; without, the worker is held.
    :param poke_interval: longest pause between polls; they begin at 1 s. At least 1 s.
    :param timeout: how long to wait for the end; default 10 min.
    :param outage_tolerance: how long the server may not answer; default 10 min.

    :raises OperationsCallErrorFinal: the server can't cancel (UNIMPLEMENTED), or doesn't know the operation.
    :raises OperationTimeout: it was not over in time.
    """

    template_fields: Sequence[str] = ("operation_name", "operations_conn_id", "base_url", "path_prefix")
    ui_color = "#fee2e2"

    def __init__(
        self,
        *,
        operation_name: str,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = 600.0,
        outage_tolerance: timedelta | float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation_name = operation_name
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poke_interval = as_seconds("poke_interval", poke_interval)
        self.timeout = as_seconds("timeout", timeout)
        self._keep_waiting_arguments(
            outage_tolerance=outage_tolerance,
            cancel_on_kill=False,
            cancel_on_timeout=False,
            service={
                "operations_conn_id": operations_conn_id,
                "base_url": base_url,
                "path_prefix": path_prefix,
                "cancel_suffix": cancel_suffix,
                "cancel_method": cancel_method,
                "error_format": error_format,
            },
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for the cancellation and wait for the end, or hand the waiting over to a trigger."""
        started_epoch_s = clock.now()
        name = self.operation_name
        if (failure := self.hook.try_cancel(name)) is not None:
            raise error_of_call(failure, name, final=self._is_final(failure))
        self.log.info("%s: asked to cancel", name)
        if not self.wait_for_completion:
            return {"name": name, "ended": None}
        self._push(context, OPERATION_NAME_KEY, name)
        watch = self._watch_for(name, started_epoch_s, created_epoch_s=None)
        outcome = watch.judge(self.hook.poll(name), clock.now())
        if not isinstance(outcome, Outcome):
            if self.deferrable:
                self._defer_for(watch)
            outcome = self.hook.watch(watch)
        return self._deliver(context, outcome)

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> dict[str, Any]:
        """Resume with the trigger's event."""
        return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))

    def _deliver(self, context: Context, outcome: Outcome) -> dict[str, Any]:
        if outcome.kind is not Kind.DONE or outcome.operation is None:
            super()._deliver(context, outcome)
        assert outcome.operation is not None  # noqa: S101  else it was raised
        self._push(context, OPERATION_KEY, operation_xcom(outcome.operation))
        self.log.info("%s: %s", outcome.name, ending(outcome.operation))
        return {"name": outcome.name, "ended": ending(outcome.operation)}


def _code(value: Code | int | str) -> Code | int:
    code = Code.parse(value)
    if code is None:
        raise ValueError(f"'retry_on' has codes such as Code.UNAVAILABLE or 'UNAVAILABLE', not {value!r}")
    return code


def _own_params(params: Any, dag: Any) -> dict[str, Any]:
    """
    Tell the task's own ``params``, which are query parameters here, from those of its DAG.

    Airflow merges a DAG's params into every task's argument ``params`` before ``__init__`` sees it.
    """
    if hasattr(params, "get_param"):  # Airflow's ParamsDict; its items would be validated
        own = {key: params.get_param(key).value for key in params}
    else:
        own = dict(params or {})
    inherited = dag.params if dag is not None else {}
    return {key: value for key, value in own.items() if key not in inherited or inherited[key] != value}


def _with_request_id(
    body: Any, query: dict[str, Any], field: str, place: str, request_id: str
) -> tuple[Any, dict[str, Any]]:
    """
    Put the request id into the query, or into the body at a dotted path.

    :raises ValueError: the path leads through something that isn't an object.
    """
    if place == "query":
        return body, {**query, field: request_id}
    *parents, last = field.split(".")
    result = inner = dict(body or {})
    for parent in parents:
        inner[parent] = inner = dict(inner.get(parent) or {})
    inner[last] = request_id
    return result, query
