"""The hook for code of users: the client for workers, with what Airflow's http provider has beside it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_operations._airflow.compat import HOOKS_TELL_THE_FORM
from airflow_provider_operations._connection import form as connection_form
from airflow_provider_operations.hooks._google_api import method_of, start_call_of, warn_without_location
from airflow_provider_operations.hooks.worker import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations._google_apis.table import Method
    from airflow_provider_operations._protocol.retries import Retries
    from airflow_provider_operations.operation import Operation

__all__ = ["OperationsHook"]


class OperationsHook(WorkerClient, HttpHook):
    """
    Get, cancel, list, delete, wait for and start operations.

    Requests whose failure is transient (no connection, time-out, 408, 429, 5xx but 501) are repeated;
    a start only where it can't start twice.

    :param operations_conn_id: connection of type ``operations``.
    :param base_url: instead of the connection's; another origin must be in its ``allowed_hosts``.
    :param path_prefix: instead of the connection's (there by default ``v1``).
    :param cancel_suffix: instead of the connection's (by default ``:cancel``).
    :param cancel_method: instead of the connection's (by default POST).
    :param error_format: 1 or 2: ask for Google's error format (``$.xgafv``).
    :param wait_timeout_in: instead of the connection's (by default ``query``).
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none.
    :param api: an API of Google's, e.g. ``file`` or ``file:v1``: what neither the connection nor another argument
        says, where the service is and how it spells its calls, is looked up in a table. Or an ``ApiDocument``.
    :param endpoint: ``regional``, for an API's address in a location.
    :param location: where some APIs, such as ``aiplatform``, have an address for each.
    :param retries: how failed requests are repeated.

    Every call raises ``OperationsCallError`` (or its Final twin) when it brings no usable answer, and
    ``InvalidName``, ``InvalidRequest``, ``InvalidConnection`` or ``AirflowNotFoundException`` before anything is sent.
    """

    conn_name_attr = "operations_conn_id"
    hook_name = "Long-Running Operations"

    if HOOKS_TELL_THE_FORM:  # read from attributes of this very class
        get_connection_form_widgets = staticmethod(connection_form.get_connection_form_widgets)
        get_ui_field_behaviour = staticmethod(connection_form.get_ui_field_behaviour)

    @staticmethod
    def _arguments_of_airflow(operations_conn_id: str) -> dict[str, Any]:
        return {"http_conn_id": operations_conn_id, "tcp_keep_alive": False}

    def look_up(self) -> Settings:
        """Look the connection up, once; return what it says."""
        settings = super().look_up()
        self.base_url = settings.service.base_url
        self._base_url_initialized = True
        return settings

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> requests.Session:
        """Return a session with the connection's headers, proxies and TLS settings, and nothing else of it."""
        # HttpHook.run takes from here what it passes on.
        self.merged_extra = {
            "timeout": self.settings.timeout_s,
            "allow_redirects": False,
            **(extra_options or {}),
        }
        return self.new_session(headers)

    def start_method(
        self,
        api_method: str | Method,
        *,
        parameters: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        retries: Retries | None = None,
    ) -> Operation:
        """
        Make the call of a method of Google's that starts an operation; the hook is made with the method's ``api``.

        Where the service takes a request id, one is sent, so that the call can be repeated.

        :param api_method: its id, e.g. ``file.projects.locations.instances.create``; or one of an ``ApiDocument``.
        :param parameters: of path and query, by their names in the API's documentation.
        :param json: the body.
        :raises ValueError: there is no such method, it isn't of the hook's API, its parameters aren't right, or are of
            another location than the hook's address.
        """
        method = method_of(api_method, self.api)
        base_url = self.settings.service.base_url
        call = start_call_of(method, parameters, json, headers, base_url, self._endpoint)
        warn_without_location(method, call.path, base_url)
        return self.start_operation(call.path, **call.arguments(str(uuid.uuid4())), retries=retries)
