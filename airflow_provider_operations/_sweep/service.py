"""Asks services about operations that no task waits for: briefly, and never again in a sweep when one doesn't answer."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._connection.fields import InvalidConnection
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


class NotAskedError(Exception):
    """A service wasn't asked; the text says why, and is the same for all operations of the service."""


class Services:
    """The services of one sweep, each with its session."""

    def __init__(self) -> None:
        self._hooks: dict[ServiceOptions, Any] = {}
        self._away: dict[ServiceOptions, str] = {}

    def look(self, options: ServiceOptions, name: str) -> Operation | CallFailure:
        """
        Poll an operation once.

        :raises NotAskedError: the connection is gone or spoiled, or the service hasn't answered before in this sweep.
        """
        result: Operation | CallFailure = self._call(options, lambda hook: hook.poll(name))
        if isinstance(result, CallFailure) and (result.transient or result.http_status == 401):
            self._away[options] = result.problem
        return result

    def why_away(self, options: ServiceOptions) -> str | None:
        """Say why a service isn't asked any more in this sweep; ``None``: it is."""
        return self._away.get(options)

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
        try:
            return call(self._hook(options))
        except InvalidName as error:
            raise NotAskedError(str(error)) from error
        except (AirflowNotFoundException, InvalidConnection) as error:
            self._away[options] = str(error)
            raise NotAskedError(str(error)) from error
        except Exception as error:
            # The text may come from a secrets backend: it is for the log alone.
            log.exception("connection %r can't be used", options.operations_conn_id)
            self._away[options] = f"{type(error).__name__}, see the log"
            raise NotAskedError(self._away[options]) from error

    def _hook(self, options: ServiceOptions) -> Any:
        if options not in self._hooks:
            hook = OperationsHook(**options.arguments())
            hook.look_up()
            self._hooks[options] = hook.detached(timeout_s=REQUEST_S)
        return self._hooks[options]

    def close(self) -> None:
        """Close the sessions."""
        for hook in self._hooks.values():
            with suppress(Exception):
                hook.close()
