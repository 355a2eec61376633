"""
An API document that a user brings, read as the documents of the table are.

The host that it names may have credentials only where a task's ``base_url`` might. Nothing is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._google_apis.extract import entry_of
from airflow_provider_operations._google_apis.lookup import UnknownMethod, no_start
from airflow_provider_operations._google_apis.table import Document
from airflow_provider_operations._protocol.request import start_method
from airflow_provider_operations._protocol.urls import canonical_url, has_dot_segment

if TYPE_CHECKING:
    import os

    from airflow_provider_operations._google_apis.table import Method

__all__ = ["ApiDocument", "InvalidDocument"]

_NAME = re.compile(r"[A-Za-z][\w-]*:[\w.-]+", re.ASCII)
_PATH = re.compile(r"(?:[\w.~:@!$&'()*+,;=/-]|\{\+?\w+\})+", re.ASCII)
_VARIABLE = re.compile(r"\{\+?(\w+)\}")


class InvalidDocument(ValueError):
    """An API document that can't be read, or has no operations; the text says why."""


class ApiDocument(Document):
    """
    The API document of a service that the package's table doesn't have, or doesn't have in this version.

    It stands for ``api`` in tasks, sensors and hooks; ``find`` returns what stands for ``api_method``.

    :param source: path of a JSON file, or what is in it: a discovery document as Google's are.
    :param recognises_request_ids: whether the service recognises a repeated start by its ``requestId``, where the
        document has one. Then each start gets one; else none is sent by itself.
    :raises InvalidDocument: it is none, or none of its methods answers with ``google.longrunning.Operation``.

    Source: https://developers.google.com/discovery/v1/reference/apis
    """

    def __init__(
        self, source: str | os.PathLike[str] | Mapping[str, Any], *, recognises_request_ids: bool = False
    ) -> None:
        raw, where = (source, "it") if isinstance(source, Mapping) else (_read(source), str(source))
        try:
            name, entry = _entry(raw, recognises_request_ids=recognises_request_ids)
        except InvalidDocument:
            raise
        except (ValueError, re.error) as error:
            raise InvalidDocument(f"{where} is no API document that can be used: {error}") from error
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InvalidDocument(
                f"{where} is no API document as Google's discovery service has them: {why}"
            ) from error
        super().__init__(name, entry)

    def __str__(self) -> str:
        """Return its name: ``example:v1``."""
        return self.name

    __repr__ = __str__

    def __copy__(self) -> ApiDocument:
        """It never changes, and tasks are copied often."""
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> ApiDocument:
        """It never changes, and tasks are copied often."""
        return self

    @property
    def as_argument(self) -> ApiDocument:
        """What stands for it where an API is asked for: itself."""
        return self

    def find(self, method_id: str) -> Method:
        """
        Return a method that starts an operation.

        :param method_id: ``example.projects.things.create``, with or without the version.
        :raises UnknownMethod: there is none.
        """
        api, _, short_id = method_id.partition(".")
        if api not in {self.api, self.name}:
            raise UnknownMethod(f"{method_id!r} isn't in {self.name}, whose ids begin with '{self.api}.'")
        method = self.method(short_id)
        if method is None:
            raise no_start(self, short_id)
        return method


def _read(source: str | os.PathLike[str]) -> Any:
    if "://" in str(source):
        raise InvalidDocument(
            f"an API document is a file or a dict, and isn't fetched: get {source} first, and keep it beside the DAG"
        )
    path = Path(source)
    if not path.is_absolute():
        raise InvalidDocument(
            f"{source} isn't a whole path: write Path(__file__).with_name({path.name!r}) for a file beside the DAG"
        )
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidDocument(f"{source} can't be read as an API document: {error}") from error


def _entry(raw: Mapping[str, Any], *, recognises_request_ids: bool) -> tuple[str, dict[str, Any]]:
    """
    Return the document's name, and what the table would have of it.

    :raises ValueError: something in it can't be used.
    """
    name = raw.get("id") or f"{raw['name']}:{raw['version']}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"its id is like example:v1, and not {str(name)[:100]!r}")
    try:
        root_url = canonical_url(raw["rootUrl"])
    except ValueError as error:
        raise ValueError(f"its rootUrl {error}") from error
    whole = {**raw, "rootUrl": root_url, "servicePath": raw.get("servicePath", "")}
    entry = entry_of(whole, lambda _: recognises_request_ids)
    if entry is None or not (entry["methods"] or entry["operations"]):
        raise ValueError(
            "none of its methods answers with an operation, which has name, done, error, metadata and response"
        )
    for short_id, method in entry["methods"].items():
        _check(short_id, method)
    for kind in entry["kinds"]:
        re.compile(kind.get("pattern", ""))
    for pattern, _ in entry["operations"]:
        re.compile(pattern)
    for template, _ in entry["endpoints"].values():
        if template.count("{location}") != 1:
            raise ValueError(f"its endpoint {template[:100]!r} doesn't have its location in it once")
        canonical_url(template.replace("{location}", "x"))
    return name, entry


def _check(short_id: str, method: dict[str, Any]) -> None:
    start_method(method["verb"])
    path = method["path"]
    if not _PATH.fullmatch(path) or has_dot_segment(path) or path.startswith("/"):
        raise ValueError(f"the path of {short_id} is like v1/{{+parent}}/things, and not {path[:100]!r}")
    if unknown := set(_VARIABLE.findall(path)) ^ set(method["path_parameters"]):
        raise ValueError(
            f"the path of {short_id} and its parameters don't go together: {', '.join(sorted(unknown))}"
        )
