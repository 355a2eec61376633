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

from airflow_provider_operations._google_apis.extract import entry_of, methods_of
from airflow_provider_operations._google_apis.lookup import UnknownMethod, no_start
from airflow_provider_operations._google_apis.table import Document
from airflow_provider_operations._protocol.rendering import CONTROL, each_text, one_line
from airflow_provider_operations._protocol.request import start_method
from airflow_provider_operations._protocol.urls import canonical_url, has_dot_segment

if TYPE_CHECKING:
    import os

    from airflow_provider_operations._google_apis.table import Method

__all__ = ["ApiDocument", "InvalidDocument"]

_NAME = re.compile(r"[A-Za-z][\w-]*:[\w.-]+", re.ASCII)
_PATH = re.compile(r"(?:[\w.~:@!$&'()*+,;=/-]|\{\+?\w+\})+", re.ASCII)
_VARIABLE = re.compile(r"\{\+?(\w+)\}")
_PREFIX = re.compile(r"(?:[\w.~:@!$&'()*+,;=-]+(?:/[\w.~:@!$&'()*+,;=-]+)*)?", re.ASCII)
_SUFFIX = re.compile(r"[:/][\w-]+", re.ASCII)
_NO_GROUP = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""What is left out where groups of a pattern are looked for: what is escaped, and classes."""


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
        except RecursionError as error:
            raise InvalidDocument(f"{where} is nested too deeply for an API document") from error
        except (ValueError, OverflowError, re.error) as error:
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

    def __eq__(self, other: object) -> bool:
        """Tell whether the same was read: two modules may each read a file."""
        return isinstance(other, ApiDocument) and (self.name, self._entry) == (other.name, other._entry)

    def __hash__(self) -> int:
        """Agree with ``==``."""
        return hash(self.name)

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
    except RecursionError as error:
        raise InvalidDocument(f"{source} is nested too deeply for an API document") from error
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
    for _, _, method in methods_of(whole, ()):
        if not isinstance(method.get("scopes", []), list):
            raise ValueError(f"the scopes of {method['id']} are no list")  # noqa: TRY004  the document's
    entry = entry_of(whole, lambda _: recognises_request_ids)
    if entry is None or not (entry["methods"] or entry["operations"]):
        raise ValueError(
            "none of its methods answers with an operation, which has name, done, error, metadata and response"
        )
    for short_id, method in entry["methods"].items():
        _check(short_id, method, entry["kinds"])
    _check_operations(entry)
    _check_texts(entry)
    for endpoint in entry["endpoints"].values():
        endpoint[0] = _canonical_template(endpoint[0])
    return name, entry


def _check(short_id: str, method: dict[str, Any], kinds: list[dict[str, Any]]) -> None:
    start_method(method["verb"])
    path = method["path"]
    fixed = _VARIABLE.sub("", path)  # what stands before a variable, such as "..", may be a segment with it
    if not _PATH.fullmatch(path) or has_dot_segment(path) or has_dot_segment(fixed) or path.startswith("/"):
        raise ValueError(f"the path of {short_id} is like v1/{{+parent}}/things, and not {path[:100]!r}")
    if unknown := set(_VARIABLE.findall(path)) ^ set(method["path_parameters"]):
        raise ValueError(
            f"the path of {short_id} and its parameters don't go together: {', '.join(sorted(unknown))}"
        )
    for name, at in (method["path_parameters"] | method["query"]).items():
        _check_kind(f"its parameter {name!r} of {short_id}", kinds[at])


def _check_kind(parameter: str, kind: dict[str, Any]) -> None:
    if not isinstance(kind.get("type"), str):
        raise ValueError(f"{parameter} lacks a type, such as string")  # noqa: TRY004  the document's
    values = kind.get("enum", [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{parameter} has an enum that is no list of texts")
    _check_pattern(kind.get("pattern", ""))


def _check_pattern(pattern: str) -> None:
    """
    Check a regular expression.

    That Python may try for ever to match one takes a repetition in what is repeated, and so a group. None of Google's
    documents repeats one.
    """
    re.compile(pattern)
    if re.search(r"\)[*+{]", _NO_GROUP.sub("", pattern)):
        raise ValueError(
            f"the pattern {pattern[:100]!r} repeats a group, so that matching it may take for ever"
        )


def _check_operations(entry: dict[str, Any]) -> None:
    for pattern, _ in entry["operations"]:
        _check_pattern(pattern)
    prefix, suffix = entry["prefix"], entry.get("cancel_suffix", ":cancel")
    if not _PREFIX.fullmatch(prefix) or has_dot_segment(prefix):
        raise ValueError(f"the path of its operations begins like v1, and not with {prefix[:100]!r}")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(
            "its operations are cancelled by ':cancel' or '/cancel' after their names, and not by "
            f"{suffix[:100]!r}; without their method cancel the document can be used"
        )
    try:
        start_method(entry.get("cancel_method", "POST"))
    except ValueError as error:
        raise ValueError(f"its operations can't be cancelled: {error}") from error


def _check_texts(entry: dict[str, Any]) -> None:
    """Check what commands and logs show."""
    for key in ("title", "documentation", "revision"):
        if not isinstance(entry[key], str):
            raise ValueError(f"its {key} is no text")  # noqa: TRY004  the document's

    def check(text: str) -> None:
        if re.search(f"[{CONTROL}]", text):
            raise ValueError(f"{one_line(repr(text), 100)} in it has a control character")

    each_text(check, entry)


def _canonical_template(template: str) -> str:
    """
    Return the address of a location as URLs are compared, with ``{location}`` in it.

    :raises ValueError: it isn't in it once, or this is no URL.
    """
    if template.count("{location}") != 1:
        raise ValueError(f"its endpoint {template[:100]!r} doesn't have its location in it once")
    place = "a-location-like-no-other"
    return canonical_url(template.replace("{location}", place)).replace(place, "{location}")
