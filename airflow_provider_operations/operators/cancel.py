"""The operator that cancels an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY, operation_xcom
from airflow_provider_operations._connection.options import SERVICE_FIELDS
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome, ending
from airflow_provider_operations._protocol.polling import as_seconds
from airflow_provider_operations._protocol.request import name_text
from airflow_provider_operations._tasks.base import BaseOperationOperator, as_flag
from airflow_provider_operations.links import OperationLink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

__all__ = ["CancelOperationOperator"]


class CancelOperationOperator(BaseOperationOperator):
    """
    Cancel an operation, wait until it is done, say how it ended.

    It is no error if the operation was done already, or ends otherwise than by the cancellation.
    Returns ``{"name": str, "ended": "cancelled" | "succeeded" | "failed with ..."}``; with
    ``wait_for_completion=False`` ``ended`` is None. XCom ``operation``: the final resource.

    :param operation_name: e.g. the XCom of the task that started it. (templated)
    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this, ``path_prefix``, ``cancel_suffix``, ``cancel_method``, ``error_format`` and
        ``wait_timeout_in``: instead of what the connection says. (all templated)
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none. (templated)
    :param api: an API of Google's, ``file`` or ``file:v1``: what neither the connection nor an argument says of host and
        spelling is looked up in a table. Or an ``ApiDocument`` of your own.
    :param endpoint: ``regional``: the API's address in the location that the operation's name has.
    :param wait_for_completion: ``False`` only asks to cancel.
    :param deferrable: wait in the triggerer, and not in a worker. ``None``: as ``[operators] default_deferrable``.
    :param poke_interval: longest pause between polls; they begin at half a second. At least 1 s.
    :param timeout: how long to wait for the end; default 10 min.
    :param outage_tolerance: how long the server may fail to answer; default 10 min.

    :raises OperationsCallErrorFinal: the server can't cancel (UNIMPLEMENTED), or doesn't know the operation.
    :raises OperationTimeout: it was not done in time.
    """

    template_fields: Sequence[str] = ("operation_name", *SERVICE_FIELDS)
    operator_extra_links = (OperationLink(),)
    ui_color = "#fee2e2"

    def __init__(
        self,
        *,
        operation_name: str,
        wait_for_completion: bool = True,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(cancel_on_kill=False, cancel_on_timeout=False, **kwargs)
        self.operation_name = operation_name
        self.wait_for_completion = as_flag("wait_for_completion", wait_for_completion)
        self.poke_interval = as_seconds("poke_interval", poke_interval)
        self.timeout = as_seconds("timeout", timeout)

    def execute(self, context: Context) -> Any:
        """Ask for the cancellation and wait for the end, or hand the waiting over to a trigger."""
        self.link_to_console = ""  # Airflow has deleted the XCom of an earlier try or stay
        started_epoch_s = clock.now()
        name = self.operation_name = name_text(self.operation_name, "operation name")
        failure = self.hook.cancel_unless_over(name)
        if failure is not None:
            raise self._error_of_call(failure, name, final=self._is_final(failure))
        self.log.info("%s: asked to cancel", name)
        self._push_link(context, name)
        if not self.wait_for_completion:
            return {"name": name, "ended": None}
        self._push(context, OPERATION_NAME_KEY, name)
        watch = self._watch_for(name, started_epoch_s, created_epoch_s=None)
        return self._deliver(context, self._wait_for(watch))

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> Any:
        """Resume with the trigger's event."""
        return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))

    def _deliver(self, context: Context, outcome: Outcome) -> Any:
        if outcome.kind is not Kind.DONE or outcome.operation is None:
            return super()._deliver(context, outcome)
        self._push_or_log(context, OPERATION_KEY, operation_xcom(outcome.operation))
        self.log.info("%s: %s", outcome.name, ending(outcome.operation))
        return {"name": outcome.name, "ended": ending(outcome.operation)}
