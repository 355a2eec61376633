"""
The API documents that google-api-python-client brings along: which methods of operations they describe, how a
connection has to be spelled for them, and what Google's client sends for them.

Nothing here knows an API by name: everything is read from a document.

Source: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httplib2
from googleapiclient.discovery import build_from_document, fix_method_name
from googleapiclient.discovery_cache import DISCOVERY_DOC_DIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_operations._protocol.request import Request

VERBS = ("get", "cancel", "delete", "wait", "list")

OPERATION_FIELDS = {"name", "done", "error", "metadata", "response"}
"""Exactly these make a schema the standard operation."""

OF_THE_CLIENT = {"alt", "$.xgafv", "%24.xgafv"}
"""Query parameters that Google's client adds by itself."""

SEGMENTS = ("p-1", "us_central1.a~b", "example.com:8c7f@x+y=!$&'()*,;", "example.com%2Fprojects%2fp")
"""
Made-up values for one segment, of every character that RFC 3986 lets stand unescaped in a path; the last has another
name in it, as those of IAM's deny policies do.
"""

FLAT_SEGMENTS = ("p-1", "us_central1.a~b", "0")
"""The same for ``{name}``, where Google's client escapes all but unreserved characters (RFC 6570, 3.2.2)."""

TAILS = ("p-1/a_b.c~d", "8c7f:0", "x/y@z/+==")
"""Values for a pattern's ``.*``, which lets slashes in."""


class Sent(NamedTuple):
    """What makes two requests the same."""

    method: str
    url: str
    query: tuple[str, ...]
    """Encoded ``key=value`` pairs, sorted, without the client's own."""
    body: Any

    @classmethod
    def of(cls, method: str, uri: str, body: Any) -> Sent:
        """Take a whole URI apart."""
        url, _, query = uri.partition("?")
        pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in OF_THE_CLIENT]
        return cls(method, url, tuple(sorted(pairs)), body)

    @classmethod
    def by_us(cls, base_url: str, request: Request[Any]) -> Sent:
        """Read a request of ours."""
        return cls.of(request.method, base_url + request.target, request.body)

    @classmethod
    def by_google(cls, request: Any) -> Sent:
        """Read a ``googleapiclient.http.HttpRequest``."""
        return cls.of(request.method, request.uri, None if request.body is None else json.loads(request.body))


class Spelling(NamedTuple):
    """The settings that one method needs."""

    path_prefix: str
    extra: dict[str, str]
    """Those of ``cancel_suffix``, ``cancel_method`` and ``wait_timeout_in`` that aren't the default."""


class Unreachable(Exception):
    """A method that no settings reach; the text says why."""


@dataclass(frozen=True, eq=False)
class Method:
    """
    One method of a document.

    :param document: as Google's directory calls it, e.g. ``cloudbuild:v1``.
    :param resources: where it is in the document, e.g. ``("projects", "locations", "operations")``.
    :param verb: one of ``VERBS``.
    :param template: URI template below the root URL, e.g. ``v1/{+name}:cancel``.
    :param standard: whether what it answers is, or lists, exactly the standard operation; ``None`` where the
        answer is empty (cancel, delete).
    """

    document: str
    resources: tuple[str, ...]
    verb: str
    http_method: str
    template: str
    parameters: Mapping[str, Mapping[str, Any]]
    has_body: bool
    body_fields: tuple[str, ...]
    standard: bool | None

    def __str__(self) -> str:
        return f"{self.document} {'.'.join(self.resources)}.{self.verb}"

    @property
    def of_operations(self) -> bool:
        """Whether it belongs to a resource called ``operations``, as the standard methods do."""
        return self.resources[-1] == "operations"

    def takes(self, parameter: str) -> bool:
        """Whether it has this parameter, in path or query."""
        return parameter in self.parameters

    def variables(self) -> list[str]:
        """Parameters in the path, in order."""
        return re.findall(r"\{\+?(\w+)\}", self.template)

    @property
    def flat(self) -> bool:
        """Whether a parameter of the path is one segment: ``{bucket}`` rather than ``{+name}``."""
        return bool(re.search(r"\{\w", self.template))

    def path_values(self) -> Iterator[dict[str, str]]:
        """Yield made-up values for the parameters in the path, which keep to the documented patterns."""
        for turn in range(len(SEGMENTS)):
            yield {
                name: _value(self.parameters[name].get("pattern"), turn + number, flat=self.flat)
                for number, name in enumerate(self.variables())
            }

    def spelling(self) -> Spelling:
        """
        Read the settings off the path.

        What stands before ``{+name}`` is the prefix. Where a name is spread over several parameters
        (``b/{bucket}/operations/{operationId}``) it begins with the collection before the first one.

        :raises Unreachable: there is no setting for it.
        """
        extra: dict[str, str] = {}
        suffix = self.template.rpartition("}")[2]
        if self.verb == "cancel":
            extra = {"cancel_suffix": suffix, "cancel_method": self.http_method}
        elif self.verb == "wait":
            if (suffix, self.http_method) != (":wait", "POST"):
                raise Unreachable(f"{self.http_method} {suffix}")
            extra = {"wait_timeout_in": "body" if self.has_body else "query"}
        elif self.verb == "list" and self._collection() != "operations":
            raise Unreachable(f"lists {self._collection()}")
        defaults = {"cancel_suffix": ":cancel", "cancel_method": "POST", "wait_timeout_in": "query"}
        return Spelling(
            self._prefix(), {key: value for key, value in extra.items() if value != defaults[key]}
        )

    def _prefix(self) -> str:
        literal, variable, _ = self.template.partition("{")
        if variable and re.match(r"\{(\+\w+|name)\}", self.template[len(literal) :]):
            return literal.rstrip("/")
        return literal.rstrip("/").rpartition("/")[0]

    def _collection(self) -> str:
        """Return the last segment of a list's path, which may be in a parameter's pattern."""
        path = self.template
        if path.endswith("}"):
            path = self.parameters[self.variables()[-1]].get("pattern", "").strip("^$")
        return path.rpartition("/")[2]

    def name_of(self, values: Mapping[str, str]) -> str:
        """Return the operation's name that these parameters stand for; for a list, its parent."""
        path = self.template[len(self._prefix()) :].removeprefix("/")
        if self.verb in {"cancel", "wait"}:
            path = path[: path.rindex("}") + 1]
        path = re.sub(r"\{\+?(\w+)\}", lambda variable: values[variable[1]], path)
        return path.removesuffix("operations").removesuffix("/") if self.verb == "list" else path


def _value(pattern: str | None, turn: int, *, flat: bool) -> str:
    if pattern is not None and not pattern.startswith("^"):  # a grammar of its own: some plain value will do
        return FLAT_SEGMENTS[0]
    turns = itertools.count(turn)

    def made_up(placeholder: re.Match[str]) -> str:
        values = TAILS if placeholder[0] == ".*" else FLAT_SEGMENTS if flat else SEGMENTS
        return values[next(turns) % len(values)]

    return re.sub(r"\[\^/\]\+|\.\*", made_up, pattern[1:-1] if pattern else "[^/]+")


@dataclass(frozen=True)
class Document:
    """
    One API in one version.

    :param raw: the parsed JSON, as ``build_from_document`` takes it.
    """

    name: str
    raw: dict[str, Any]

    @property
    def root_url(self) -> str:
        """Scheme and host, without the slash at the end."""
        return str(self.raw["rootUrl"]).rstrip("/")

    @property
    def hosts(self) -> set[str]:
        """Where the API is: its host and its regional ones."""
        urls = [self.raw["rootUrl"], *(place["endpointUrl"] for place in self.raw.get("endpoints", []))]
        return {urlsplit(url).hostname or "" for url in urls}

    def methods(self) -> list[Method]:
        """
        Return the five methods of every resource of operations.

        That is a resource which is called ``operations``, or which has a method that answers with exactly the
        standard operation (get) or a list of them.
        """
        found = []
        for resources, methods in _resources(self.raw, ()):
            described = [self._method(resources, verb, methods[verb]) for verb in VERBS if verb in methods]
            if any(
                method.of_operations or (method.standard and method.verb in {"get", "list"})
                for method in described
            ):
                found += described
        return found

    def _method(self, resources: tuple[str, ...], verb: str, raw: dict[str, Any]) -> Method:
        answer = raw.get("response", {}).get("$ref")
        standard: bool | None = None
        if verb == "list":
            items = self._fields(answer).get("operations", {}).get("items", {})
            standard = self._is_operation(items.get("$ref"))
        elif verb in {"get", "wait"}:
            standard = self._is_operation(answer)
        return Method(
            document=self.name,
            resources=resources,
            verb=verb,
            http_method=raw["httpMethod"],
            template=self.raw["servicePath"] + raw["path"],
            parameters=raw.get("parameters", {}),
            has_body="request" in raw,
            body_fields=tuple(self._fields(raw.get("request", {}).get("$ref"))),
            standard=standard,
        )

    def _is_operation(self, schema: str | None) -> bool:
        return self._fields(schema).keys() == OPERATION_FIELDS

    def _fields(self, schema: str | None) -> dict[str, Any]:
        fields: dict[str, Any] = self.raw.get("schemas", {}).get(schema, {}).get("properties", {})
        return fields


def documents() -> Iterator[Document]:
    """Read every bundled document, one at a time: together they take a gigabyte."""
    seen = set()
    for path in sorted(Path(DISCOVERY_DOC_DIR).glob("*.json")):
        raw = json.loads(path.read_bytes())
        name = raw.get("id")
        # One file is an index; a few documents are there twice, under an old and a new file name.
        if name is not None and name not in seen:
            seen.add(name)
            yield Document(name, raw)


def document(name: str) -> Document:
    """Read one document, e.g. ``cloudbuild:v1``."""
    path = Path(DISCOVERY_DOC_DIR) / f"{name.replace(':', '.')}.json"
    return Document(name, json.loads(path.read_bytes()))


def _resources(
    raw: dict[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name, resource in raw.get("resources", {}).items():
        here = (*above, name)
        yield here, resource.get("methods", {})
        yield from _resources(resource, here)


class GoogleClient:
    """
    Google's client, as it builds itself from a document.

    :param methods: all others are left out of the document first: the client writes a docstring for each, which
        takes long.
    :param root_url: instead of the document's.
    """

    def __init__(self, document: Document, methods: Iterable[Method], root_url: str | None = None) -> None:
        wanted = {(*method.resources, method.verb) for method in methods}
        raw = _reduced(document.raw, wanted, ())
        if root_url is not None:
            raw["rootUrl"] = f"{root_url}/"
        self._http = httplib2.Http()
        self._resources: dict[tuple[str, ...], Any] = {(): build_from_document(raw, http=self._http)}

    def __enter__(self) -> GoogleClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def resource(self, path: tuple[str, ...]) -> Any:
        """Walk to a resource as the client's users do: ``client.projects().operations()``."""
        if path not in self._resources:
            self._resources[path] = getattr(self.resource(path[:-1]), fix_method_name(path[-1]))()
        return self._resources[path]

    def request(self, method: Method, arguments: Mapping[str, Any]) -> Any:
        """Make a ``googleapiclient.http.HttpRequest``."""
        return getattr(self.resource(method.resources), method.verb)(**arguments)


def _reduced(raw: dict[str, Any], wanted: set[tuple[str, ...]], here: tuple[str, ...]) -> dict[str, Any]:
    methods = {name: value for name, value in raw.get("methods", {}).items() if (*here, name) in wanted}
    resources = {
        name: _reduced(value, wanted, (*here, name))
        for name, value in raw.get("resources", {}).items()
        if any(path[: len(here) + 1] == (*here, name) for path in wanted)
    }
    return {**raw, "methods": methods, "resources": resources}
