"""Asks services about operations that no task waits for: briefly, and one that doesn't answer not again in a sweep."""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._airflow.redaction import log_exception
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.names import InvalidName
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.hooks import OperationsHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations._connection.options import ServiceOptions
    from airflow_provider_operations.operation import Operation

__all__ = ["NotAskedError", "Services"]

log = logging.getLogger(__name__)

REQUEST_S = 10.0
"""Longest exchange with a service, unless its connection says less: other services wait for it."""

ERRORS_IN_A_ROW = 5
"""After so many 5xx a service isn't asked any more: one may be of a single operation."""

BUDGET_S = 60.0
"""So long the services of a connection are asked in one sweep, altogether; the next one goes on with what is left."""


class NotAskedError(Exception):
    """A service wasn't asked; the text says why, and is the same for all operations of the service."""


class Services:
    """The services of one sweep, each with its session."""

    def __init__(self) -> None:
        self._hooks: dict[ServiceOptions, Any] = {}
        self._away: dict[ServiceOptions, str] = {}
        self._spent_s: defaultdict[str | None, float] = defaultdict(float)
        self._errors: defaultdict[ServiceOptions, int] = defaultdict(int)
        """How many 5xx in a row."""

    def look(self, options: ServiceOptions, name: str) -> Operation | CallFailure:
        """
        Poll an operation once.

        :raises NotAskedError: the connection is gone or spoiled, or the service hasn't answered before in this sweep.
        """
        result: Operation | CallFailure = self._call(options, lambda hook: hook.poll(name))
        if isinstance(result, CallFailure) and (result.transient or result.http_status == 401):
            self._errors[options] += 1
            of_one = result.http_status is not None and result.http_status >= 500
            if not of_one or self._errors[options] >= ERRORS_IN_A_ROW:
                self._away[options] = result.problem
        else:
            self._errors[options] = 0
        return result

    def why_away(self, options: ServiceOptions) -> str | None:
        """Say why a service isn't asked about further operations in this sweep; ``None``: it is."""
        if options not in self._away and self._spent_s[options.operations_conn_id] >= BUDGET_S:
            self._away[options] = f"asking its service took {BUDGET_S:g} s, and the next sweep goes on"
        return self._away.get(options)

    @property
    def away(self) -> set[str]:
        """The connections of those that aren't asked any more."""
        return {str(options.operations_conn_id) for options in self._away}

    def cancel(self, options: ServiceOptions, name: str) -> CallFailure | None:
        """
        Ask for the cancellation, once: before it is repeated, the next sweep reads anew whether the task is over.

        :return: what went wrong, if anything.
        """
        failure: CallFailure | None = self._call(options, lambda hook: hook.try_cancel(name, Retries(1)))
        return failure

    def _call(self, options: ServiceOptions, call: Callable[[Any], Any]) -> Any:
        if options in self._away:
            raise NotAskedError(self._away[options])
        began = clock.now()
        try:
            return call(self._hook(options))
        except InvalidName as error:
            raise NotAskedError(str(error)) from error
        except (AirflowNotFoundException, InvalidConnection) as error:
            self._away[options] = str(error)
            raise NotAskedError(str(error)) from error
        except Exception as error:
            # The text may come from a secrets backend: it is for the log alone.
            log_exception(log, "connection %r can't be used", options.operations_conn_id)
            self._away[options] = f"{type(error).__name__}, see the log"
            raise NotAskedError(self._away[options]) from error
        finally:
            self._spent_s[options.operations_conn_id] += max(clock.now() - began, 0.0)

    def _hook(self, options: ServiceOptions) -> Any:
        if options not in self._hooks:
            hook = OperationsHook(**options.arguments())
            hook.asks_again = True
            hook.look_up()
            self._hooks[options] = hook.detached(timeout_s=REQUEST_S)
        return self._hooks[options]

    def close(self) -> None:
        """Close the sessions."""
        for hook in self._hooks.values():
            with suppress(Exception):
                hook.close()
