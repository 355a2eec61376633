"""
The request of a method, made of its parameters, and what is wrong with them.

It is the request that Google's own client for Python makes. What that one sends and nobody can mean is refused: names
that would leave their place in the path, and values of another type.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow_provider_operations._protocol.names import checked_name
from airflow_provider_operations._protocol.request_values import body_value, query_values

if TYPE_CHECKING:
    from airflow_provider_operations._google_apis.table import Method, Parameter

__all__ = ["InvalidParameters", "MethodCall", "call_of", "check_literals"]

GLOBAL_PARAMETERS = ("quotaUser", "$.xgafv")
"""Those of Google's parameters for all methods that don't change what is answered, and are no credentials."""

REQUEST_ID, VALIDATE_ONLY = "requestId", "validateOnly"
IN_SNAKE_CASE = {REQUEST_ID: "request_id", VALIDATE_ONLY: "validate_only"}
"""How services read the names of fields as well."""

_VARIABLE = re.compile(r"\{(\+?)(\w+)\}")


class InvalidParameters(ValueError):
    """Parameters of a method that can't be sent; the text says which and what to write instead."""


@dataclass(frozen=True)
class MethodCall:
    """
    A method's request, without its request id.

    :param path: below the host, percent-encoded, with a slash in front.
    :param query: texts, and lists of texts for repeated parameters.
    :param body: JSON; ``None``: no body is sent.
    :param request_id_in: ``query`` or ``body``, where a ``requestId`` may be added.
    :param starts_nothing: it was asked to validate only: what is answered need not be an operation that can be
        asked for.
    """

    verb: str
    path: str
    query: Mapping[str, str | list[str]]
    body: Any
    request_id_in: str | None
    starts_nothing: bool


def call_of(method: Method, parameters: Mapping[str, Any] | None, json: Any = None) -> MethodCall:
    """
    Return the request of a method.

    :param parameters: by their names in the API's documentation, of path and query.
    :param json: the body.
    :raises InvalidParameters: there are too few, too many, or one that isn't what it should be.
    :raises InvalidName: one would leave its place in the path.
    :raises InvalidRequestValue: something in them or in the body can't be sent.
    """
    given = _given(method, parameters)
    if missing := [name for name, known in method.parameters.items() if known.in_path and name not in given]:
        raise InvalidParameters(f"{method.id} needs the parameter {_and(missing)}")
    texts = {name: _text_of(method, method.parameters[name], value) for name, value in given.items()
             if name in method.parameters}  # fmt: skip
    query = {name: text for name, text in texts.items() if not method.parameters[name].in_path}
    query |= query_values(
        {name: value for name, value in given.items() if name in GLOBAL_PARAMETERS}, "parameters"
    )

    def encoded(variable: re.Match[str]) -> str:
        text, what = str(texts[variable[2]]), f"parameter {variable[2]!r}"
        path = checked_name(text, what)
        if not variable[1]:
            return quote(text, safe="")
        checked_name(unquote(text), what)  # what it is when all of it is decoded stays in its place, too
        return path

    body = _body(method, json)
    return MethodCall(
        method.verb,
        "/" + _VARIABLE.sub(encoded, method.path),
        query,
        body,
        method.request_id_in,
        _validates_only(method, query, body),
    )


def check_literals(method: Method, parameters: Any, json: Any) -> None:
    """
    Check what is said when a DAG is parsed; what a template may yet make another value is left.

    :raises InvalidParameters: a name is unknown, a value isn't what it should be, or there is no body to be sent.
    """
    if not _may_change(parameters):
        parameters = parameters or {}
        for name, value in _given(method, parameters).items():
            if name in method.parameters and not _may_change(value):
                _text_of(method, method.parameters[name], value)
        missing = [
            name
            for name, known in method.parameters.items()
            if known.in_path and parameters.get(name) is None
        ]
        if missing:
            raise InvalidParameters(f"{method.id} needs the parameter {_and(missing)}")
    if not _may_change(json):
        _check_body(method, json)


def _may_change(value: Any) -> bool:
    """Tell whether Airflow may render a value to another: a template, or what a task before will bring."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, list | tuple):
        return any(map(_may_change, value))
    return value is not None and not isinstance(value, bool | int | float | datetime | timedelta | Mapping)


def _given(method: Method, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that have a value; their names are checked."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InvalidParameters(
            f"'parameters' of {method.id} are names and values, not {type(parameters).__name__}"
        )
    for name in parameters:
        if name == REQUEST_ID and method.request_id_in == "query":
            raise _own_request_id(method)
        if name not in method.parameters and name not in GLOBAL_PARAMETERS:
            raise InvalidParameters(_unknown(method, str(name)))
    return {name: value for name, value in parameters.items() if value is not None}


def _unknown(method: Method, name: str) -> str:
    near = difflib.get_close_matches(name, method.parameters, n=1)
    instead = f"did you mean {near[0]!r}?" if near else f"it has {_and(method.parameters) or 'none'}"
    if method.takes_body and not near:
        instead += "; what belongs into the body goes into 'json'"
    return f"{method.id} has no parameter {name[:100]!r}; {instead}"


def _text_of(method: Method, parameter: Parameter, value: Any) -> str | list[str]:
    """Return a parameter's value as it is sent, before it is encoded."""
    here = f"parameters[{parameter.name!r}]"
    if _is_list(value):
        if parameter.format == "google-fieldmask":
            if not value:
                raise InvalidParameters(f"{here} of {method.id} names no field; leave it out, or name some")
            value = ",".join(_scalar(method, parameter, item, here) for item in value)
        elif parameter.repeated:
            return [_scalar(method, parameter, item, f"{here}[{at}]") for at, item in enumerate(value)]
    return _scalar(method, parameter, value, here)


def _scalar(method: Method, parameter: Parameter, value: Any, here: str) -> str:
    if value is None:
        raise InvalidParameters(f"{here} of {method.id} has None in it; leave that out")
    if parameter.type == "boolean":
        text = str(value).lower()
        if not isinstance(value, bool | str) or text not in {"true", "false"}:
            raise _refused(method, here, "true or false", value)
    elif parameter.type == "integer":
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", text, re.ASCII):
            raise _refused(method, here, "a whole number", value)
    elif isinstance(value, bool | float) or _is_list(value):
        raise _refused(method, here, "text", value)
    else:
        text = str(query_values({parameter.name: value}, "parameters")[parameter.name])
    if parameter.values and text not in parameter.values:
        near = difflib.get_close_matches(text, parameter.values, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidParameters(f"{here} of {method.id} is one of {', '.join(parameter.values)}{meant}")
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        shown = re.sub(r"\[\^/\]\+", "*", parameter.pattern.strip("^$"))
        raise InvalidParameters(f"{here} of {method.id} is like {shown}, and not {text[:200]!r}")
    return text


def _body(method: Method, json: Any) -> Any:
    body = body_value(json, "json")
    _check_body(method, body)
    text = body.get(VALIDATE_ONLY) if body and method.validates_in == "body" else None
    if isinstance(text, str):  # as a template leaves it
        return {**body, VALIDATE_ONLY: text.lower() == "true"}
    return body


def _check_body(method: Method, body: Any) -> None:
    if body is not None and not method.takes_body:
        raise InvalidParameters(f"{method.id} takes no 'json'; all that it takes are parameters")
    if body is None:
        return
    if not isinstance(body, Mapping):
        raise InvalidParameters(f"'json' of {method.id} is an object, and not {type(body).__name__}")
    if method.request_id_in == "body" and {REQUEST_ID, IN_SNAKE_CASE[REQUEST_ID]} & body.keys():
        raise _own_request_id(method)
    if method.validates_in == "body":
        _check_validates(method, body)


def _check_validates(method: Method, body: Mapping[str, Any]) -> None:
    """Refuse what a service may take for a wish to validate only, and we wouldn't."""
    snake = IN_SNAKE_CASE[VALIDATE_ONLY]
    if snake in body:
        raise InvalidParameters(f"json[{snake!r}] of {method.id} is spelled {VALIDATE_ONLY!r}")
    value = body.get(VALIDATE_ONLY)
    is_said = value is None or isinstance(value, bool) or _may_change(value)
    if not is_said and str(value).lower() not in {"true", "false"}:
        raise _refused(method, f"json[{VALIDATE_ONLY!r}]", "true or false", value)


def _own_request_id(method: Method) -> InvalidParameters:
    return InvalidParameters(
        f"leave {REQUEST_ID!r} of {method.id} out: each start gets one of its own, by which the service recognises that "
        "it is sent again; one that stays the same would bring back an old operation, or its error"
    )


def _validates_only(method: Method, query: Mapping[str, Any], body: Any) -> bool:
    if method.validates_in == "query":
        return query.get(VALIDATE_ONLY) == "true"
    return method.validates_in == "body" and isinstance(body, dict) and body.get(VALIDATE_ONLY) is True


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _refused(method: Method, here: str, wanted: str, value: Any) -> InvalidParameters:
    # Without the value, which may be a secret.
    return InvalidParameters(f"{here} of {method.id} is {wanted}, and not {type(value).__name__}")


def _and(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
