"""
A connection, used for an API of Google's: what the table adds to it, and what of it is refused.

The host is the task's, else the connection's, else the table's; how calls are spelled is the task's to say, else the
table's, else the connection's.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._connection.credentials import GOOGLE_HOSTS
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._connection.google_provider import GOOGLE_CONN_TYPE
from airflow_provider_operations._connection.settings import is_said, read_settings
from airflow_provider_operations._google_apis.call import REQUEST_ID, call_of
from airflow_provider_operations._google_apis.lookup import find_api, find_method
from airflow_provider_operations._lifecycle.start_call import StartCall
from airflow_provider_operations._protocol.names import location_in
from airflow_provider_operations._protocol.request import Service
from airflow_provider_operations._protocol.request_values import header_values
from airflow_provider_operations._protocol.urls import is_listed, origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_operations._connection.fields import ConnectionFields
    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations._google_apis.table import Document, Method

__all__ = [
    "ApiInUse",
    "another_proposed",
    "api_in_use",
    "method_of",
    "start_call_of",
    "warn_without_location",
]

log = logging.getLogger(__name__)

HOME = {"contentwarehouse": "us", "dialogflow": "global", "discoveryengine": "global", "documentai": "us"}
"""
APIs whose usual address serves one location only, and that location; the API documents don't say so.

Sources: https://docs.cloud.google.com/document-warehouse/docs/regions,
https://docs.cloud.google.com/dialogflow/es/docs/how/region,
https://docs.cloud.google.com/generative-ai-app-builder/docs/locations,
https://docs.cloud.google.com/document-ai/docs/regions
"""

_ZONE = re.compile(r"-[a-z]\Z")


@dataclass(frozen=True)
class ApiInUse:
    """
    An API, and which of its addresses is meant.

    :param scopes: what tokens are to be for; ``None``: the default will do.
    :param location: e.g. ``europe-west1``; of some APIs the address depends on it.
    :param endpoint: ``regional`` for an address of a location that isn't used unless asked for.
    """

    document: Document
    scopes: str | None = None
    location: str | None = None
    endpoint: str | None = None

    def read(self, fields: ConnectionFields, overrides: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
        """
        Return what a connection and the table say, and the overrides by which they can be had without the table.

        :param overrides: the task's.
        :raises InvalidConnection: it is another API's, or would send no token to Google.
        """
        spelled = {
            "path_prefix": self.document.path_prefix,
            "cancel_suffix": self.document.cancel_suffix,
            "cancel_method": self.document.cancel_method,
            "wait_timeout_in": self.document.wait_timeout_in,
            "scopes": self.scopes,
        }
        plain = dict(overrides)
        for key, value in spelled.items():
            # What is so without saying is left unsaid: an older triggerer may not know the argument.
            goes_without = value == getattr(Service, key, None) and not fields.extra.get(key)
            if not is_said(key, plain.get(key)):
                plain[key] = None if goes_without else value
        if not is_said("base_url", plain.get("base_url")):
            plain["base_url"] = None if (fields.host or "").strip() else self.base_url
        settings = read_settings(fields, plain)
        self._check(settings, f"connection {fields.conn_id!r}")
        self.check_place(settings.service.base_url)
        self._warn_away_from_home(settings.service.base_url)
        return settings, plain

    def check_place(self, base_url: str) -> None:
        """
        Check that what is asked for is sent to the location that is meant: data may have to stay there.

        :raises InvalidConnection: the address is another location's, or not the endpoint that was asked for.
        """
        host = origin_of(base_url).host
        place = self.document.location_of(host)
        if self.endpoint is not None:
            meant = replace(self, location=self.location or place)  # a function may yet return the location
            if host != (wanted := origin_of(meant.base_url).host):
                raise InvalidConnection(
                    f"{self.document.name}: its {self.endpoint} endpoint for {meant.location} is {wanted}, and not "
                    f"{host}, which the connection or base_url says; leave the host out there, or 'endpoint' here"
                )
        if place is not None and self.location is not None and place not in _with_region(self.location):
            raise InvalidConnection(
                f"{host} is {self.document.name} in {place}, and what is asked for is in {self.location}"
            )

    @property
    def base_url(self) -> str:
        """
        Where the API is.

        :raises InvalidConnection: it has no regional endpoint for the location.
        """
        kind = self.endpoint or "locational"
        for location in _with_region(self.location):
            if url := self.document.endpoint(kind, location):
                return url
        if self.endpoint:
            raise InvalidConnection(
                f"{self.document.name} has no {self.endpoint} endpoint for the location {self.location!r}"
            )
        if self.document.is_locational and self.location not in {None, "global"}:
            log.warning(
                "%s has an address for each location, and none is known for %s: %s is asked; base_url can say another",
                self.document.name,
                self.location,
                self.document.root_url,
            )
        return self.document.root_url

    def _check(self, settings: Settings, where: str) -> None:
        host = origin_of(settings.service.base_url).host
        if not is_listed(host, GOOGLE_HOSTS):
            return
        if not self._is_a_host(host):
            raise InvalidConnection(
                f"{where} is for {host}, which isn't where {self.document.name} is "
                f"({self.document.root_url.partition('://')[2]}); use another connection, or one without a host"
            )
        own = any(name.lower() == "authorization" for name in settings.auth.headers)
        if settings.auth.tokens is None and not own:
            raise InvalidConnection(
                f"{where} has no credentials, and {host} answers nobody without; set its auth to google, or name a "
                f"connection of type {GOOGLE_CONN_TYPE}, such as google_cloud_default"
            )

    def _warn_away_from_home(self, base_url: str) -> None:
        """Say where a location is, if the usual address is asked and doesn't serve it."""
        home, root = HOME.get(self.document.api), origin_of(self.document.root_url)
        if home is None or self.location in {None, home} or origin_of(base_url) != root:
            return
        regional = self.document.endpoint("regional", str(self.location))
        log.warning(
            "%s serves %s only, and will probably refuse what is in %s: give %s",
            root.host,
            home,
            self.location,
            "endpoint='regional'" if regional else f"base_url='https://{self.location}-{root.host}'",
        )

    def _is_a_host(self, host: str) -> bool:
        """Tell whether a host is one of this API's: also mutual TLS, a location's, or a private endpoint's."""
        root = origin_of(self.document.root_url).host
        label, _, domain = root.partition(".")
        before, after = r"(?:[a-z0-9-]+-)?", r"(?:-[a-z0-9-]+\.p|\.[a-z0-9.-]+)?"
        return host == root or bool(
            re.fullmatch(rf"{before}{re.escape(label)}{after}\.{re.escape(domain)}", host)
        )


def another_proposed(error: AirflowNotFoundException, api: str | Document) -> AirflowNotFoundException:
    """Return the error that a connection is missing, with another one proposed, which is never taken by itself."""
    return AirflowNotFoundException(
        f"{error}; for {api} 'operations_conn_id' may also name a connection of type {GOOGLE_CONN_TYPE}, such as "
        "google_cloud_default"
    )


def api_in_use(api: str | Document, location: str | None, endpoint: str | None) -> ApiInUse:
    """
    Return an API and its address, as a hook's arguments say.

    :raises ValueError: there is no such API.
    """
    document = find_api(api)
    return ApiInUse(document, document.scopes, location, endpoint)


def method_of(api_method: str | Method, api: str | Document | None) -> Method:
    """
    Return a method, to be called by a hook.

    :param api: the hook's.
    :raises ValueError: there is no such method, or it isn't of the hook's API.
    """
    method = find_method(api_method)
    wanted = method.document.as_argument
    if api is None or find_api(api).as_argument != wanted:
        raise ValueError(f"{method.id} needs a hook with api={wanted!r}, not {api!r}")
    return method


def warn_without_location(method: Method, path: str, base_url: str) -> None:
    """
    Say that a hook, which was made without a location, asks where all are, and the API has an address for each.

    :param path: of the start.
    """
    location = location_in(path)
    if base_url != method.document.root_url:
        return
    for place in _with_region(location):
        if url := method.document.endpoint("locational", place):
            log.warning(
                "%s has an address for each location, and %s is asked: a hook with location=%r asks %s",
                method.document.name,
                base_url,
                place,
                url,
            )
            return


def _with_region(location: str | None) -> tuple[str, ...]:
    """Return a location, and the region that it is a zone of: a zone has its region's address."""
    return (location, _ZONE.sub("", location)) if location else ()


def start_call_of(
    method: Method,
    parameters: Mapping[str, Any] | None,
    json: Any,
    headers: Mapping[str, Any] | None,
    base_url: str,
    endpoint: str | None = None,
) -> StartCall:
    """
    Return the start call of a method.

    :param base_url: where it will be sent, which makes it another call than to elsewhere.
    :param endpoint: what that has to be, as of ``ApiInUse``.
    :raises ValueError: its parameters, body or headers aren't right, or name another location than the address has.
    """
    call = call_of(method, parameters, json)
    ApiInUse(method.document, location=location_in(call.path), endpoint=endpoint).check_place(base_url)
    return StartCall(
        call.path,
        call.verb,
        call.body,
        call.query,
        header_values(headers),
        REQUEST_ID if call.request_id_in else None,
        call.request_id_in or "query",
        service=base_url,
        encoded=True,
        starts_nothing=call.starts_nothing,
    )
