"""What ``airflow operations methods`` finds in the table, and how a start is read from the command line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._google_apis.lookup import UnknownMethod, find_method
from airflow_provider_operations._google_apis.own import ApiDocument
from airflow_provider_operations._google_apis.table import default_version, document, documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_operations._google_apis.table import Document, Method, Parameter

__all__ = [
    "InvalidArgument",
    "described",
    "find",
    "found",
    "own_document",
    "read_json",
    "read_parameters",
]


class InvalidArgument(ValueError):
    """An argument of a command that can't be read."""


def own_document(file: str | None) -> ApiDocument | None:
    """
    Read an API document of the user's own; ``None``: there is none.

    :raises InvalidDocument: it can't be used.
    """
    return ApiDocument(os.path.abspath(file)) if file else None


def find(method_id: str, own: ApiDocument | None) -> Method:
    """
    Return a method by its id.

    :raises UnknownMethod: there is none.
    """
    return find_method(method_id) if own is None else own.find(method_id)


def found(words: Sequence[str], own: ApiDocument | None = None) -> list[Method]:
    """
    Return the methods whose ids have all of these words in them; what is written without a version comes first.

    A whole id is that very method.

    :param own: the document to search, instead of those of the package.
    :raises UnknownMethod: one word that can only be a whole id is none; the text says why.
    """
    wanted = [word.lower() for word in words]
    unknown: UnknownMethod | None = None
    if len(wanted) == 1:
        try:
            return [find(words[0], own)]
        except UnknownMethod as error:
            unknown = error
    searched = [own] if own else filter(None, map(document, documents()))
    methods = [method for each in searched for method in _matching(each, wanted)]
    if unknown is not None and not methods and "." in wanted[0]:
        raise unknown
    return sorted(methods, key=lambda method: ":" in written(method))


def _matching(each: Document, wanted: list[str]) -> Iterator[Method]:
    for short_id in each.method_ids:
        ids = f"{each.api}.{short_id}".lower(), f"{each.name}.{short_id}".lower()
        if all(any(word in one for one in ids) for word in wanted) and (method := each.method(short_id)):
            yield method


def written(method: Method) -> str:
    """Return a method's id as short as it may be written."""
    api, version = method.document.api, method.document.version
    return f"{api}.{method.short_id}" if default_version(f"{api}.{method.short_id}") == version else method.id


def described(method: Method) -> dict[str, Any]:
    """Return what there is to know of a method."""
    verbs = method.document.verbs
    return {
        "method": written(method),
        "call": f"{method.verb} /{method.path}",
        "parameters": {name: _parameter(each) for name, each in method.parameters.items()},
        "takes_json": method.takes_body,
        "request_id": method.request_id_in,
        **{verb: verb in verbs for verb in ("get", "cancel", "list", "wait")},
        "deprecated": method.deprecated,
        "api": f"{method.document.title} {method.document.version}, revision {method.document.revision}",
        "documentation": method.document.documentation,
    }


def _parameter(parameter: Parameter) -> str:
    kind = " ".join(
        filter(
            None,
            (
                "required" if parameter.in_path else "optional",
                "repeated" if parameter.repeated else "",
                (parameter.format or parameter.type).removeprefix("google-"),
                "deprecated" if parameter.deprecated else "",
            ),
        )
    )
    if parameter.values:
        return f"{kind}, one of {', '.join(parameter.values)}"
    shape = (parameter.pattern or "").strip("^$").replace("[^/]+", "*").replace(".*", "**")
    return f"{kind}, like {shape}" if shape else kind


def read_parameters(pairs: Iterable[str]) -> dict[str, Any]:
    """
    Read ``name=value``; what is repeated becomes a list.

    :raises InvalidArgument: there is no ``=`` in one.
    """
    read: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"--param is NAME=VALUE, not {pair[:100]!r}")
        known = read.get(name)
        read[name] = (
            value if known is None else [*known, value] if isinstance(known, list) else [known, value]
        )
    return read


def read_json(text: str | None) -> Any:
    """
    Read a body: JSON, or the path of a file of it after ``@``.

    :raises InvalidArgument: the file or the JSON can't be read.
    """
    if text is None:
        return None
    try:
        if text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                text = file.read()
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"--json is JSON, or @ and a file of it: {error}") from error
