"""
What a task says of an API of Google's, checked when the DAG is parsed.

The table, which is read for it, is imported only by tasks that name an API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_operations._connection.options import checked_endpoint

if TYPE_CHECKING:
    from airflow_provider_operations._google_apis.table import Document, Method

__all__ = ["check_request", "checked_api", "endpoint_of", "method_of"]


def checked_api(api: str | Document) -> str | Document:
    """
    Return an API with its version, or a document of the user's own.

    :raises ValueError: there is none of this name, or its version must be said.
    """
    from airflow_provider_operations._google_apis.lookup import find_api

    return find_api(api).as_argument


def endpoint_of(api: str | Document | None, endpoint: str | None) -> str | None:
    """
    Return the endpoint.

    :raises ValueError: it is none, or nobody's.
    """
    if endpoint is not None and api is None:
        raise ValueError("'endpoint' is of an API of Google's: it needs 'api' or 'api_method' beside it")
    return checked_endpoint(endpoint)


def method_of(api_method: str | Method) -> Method:
    """
    Return the method of an id.

    :raises ValueError: there is none, or it starts no operation.
    """
    from airflow_provider_operations._google_apis.lookup import find_method

    return find_method(api_method)


def check_request(
    method: Method, parameters: Any, json: Any, others: dict[str, Any], *, comes: bool, given_params: bool
) -> None:
    """
    Check what a task says beside a method's id.

    :param others: arguments that say what the method says already, by name; those that are given are refused.
    :param comes: whether a function will return the parameters, so that none are missing yet.
    :param given_params: whether Airflow's own ``params`` were given.
    :raises ValueError: something in it isn't right.
    """
    from airflow_provider_operations._google_apis.call import check_literals

    said = [name for name, value in others.items() if value is not None]
    if said:
        raise ValueError(
            f"{said[0]!r} and 'api_method' exclude each other: what is called follows from the method"
        )
    if comes and parameters is None:
        return
    try:
        check_literals(method, parameters, json)
    except ValueError as error:
        if parameters is None and given_params:
            raise ValueError(f"{error}; did you mean 'parameters'? 'params' are Airflow's own") from error
        raise
