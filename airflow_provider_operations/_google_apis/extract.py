"""
What the table keeps of an API document: its starts, how their operations are asked for, and what is left out and why.

A start is a method that answers with exactly the standard operation, and isn't itself about operations.

Source: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._google_apis.call import REQUEST_ID, VALIDATE_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["entry_of", "has_standard_get", "methods_of"]

OPERATION_FIELDS = {"name", "done", "error", "metadata", "response"}
"""All that the standard operation has, and no other schema."""

KEPT_OF_A_PARAMETER = ("type", "format", "pattern", "enum", "repeated", "required", "deprecated")

_VERSION = re.compile(r"v\d+\w*")
_LAST_VARIABLE = re.compile(r"\{\+?\w+\}$")

Resources = tuple[str, ...]
RawMethod = dict[str, Any]


def entry_of(raw: dict[str, Any], deduplicates: Callable[[str], bool]) -> dict[str, Any] | None:
    """
    Return what the table says of one document; ``None``: it has nothing to do with operations.

    :param raw: the parsed document.
    :param deduplicates: whether the description of a request id promises that a repeated call is recognised.
    """
    document = _Document(raw)
    operations = document.operations()
    methods: dict[str, Any] = {}
    left_out: dict[str, list[str]] = {}
    for resources, name, method in document.methods():
        reason = document.why_left_out(resources, name, method)
        short = method["id"].partition(".")[2]
        if reason:
            left_out.setdefault(reason, []).append(short)
        elif reason is not None:
            methods[short] = document.start(method, deduplicates)
    if not (methods or left_out or operations):
        return None
    return {
        "revision": raw.get("revision", ""),
        "title": raw.get("title", ""),
        "documentation": raw.get("documentationLink", ""),
        "root": raw["rootUrl"].rstrip("/"),
        "endpoints": _endpoints(raw),
        "prefix": document.poll_prefix(methods),
        **document.spelling(),
        "operations": operations,
        "scopes": document.scopes,
        "kinds": document.kinds,
        "methods": methods,
        "left_out": left_out,
    }


def has_standard_get(entry: dict[str, Any]) -> bool:
    """Tell whether the API's operations can be asked for."""
    return any("get" in verbs for _, verbs in entry["operations"])


class _Document:
    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self.scopes: list[list[str]] = []
        self.kinds: list[dict[str, Any]] = []
        self._of_operations = list(self._operations_resources())

    def methods(self) -> Iterator[tuple[Resources, str, RawMethod]]:
        yield from methods_of(self._raw, ())

    # --- which methods are starts ------------------------------------------------------------------------------

    def why_left_out(self, resources: Resources, name: str, method: RawMethod) -> str | None:
        """Return why a method is no start that can be made; empty if it is one; ``None``: it has no operation at all."""
        schema = method.get("response", {}).get("$ref", "")
        fields = set(self._fields(schema))
        if fields != OPERATION_FIELDS:
            if not re.fullmatch(r"(\w*Longrunning)?Operation", schema) or _reads(name, method):
                return None
            others = ", ".join(sorted(fields - OPERATION_FIELDS)[:3])
            lacks = ", ".join(sorted(OPERATION_FIELDS - fields))
            also = " and ".join(
                part for part in (lacks and f"lacks {lacks}", others and f"has {others}") if part
            )
            return f"answers with an operation that isn't the standard one: it {also}"
        if name == "get":
            return None
        if _is_of_operations(resources):
            return "is about an operation that was started before"
        if "mediaUpload" in method:
            return "uploads media, which isn't a call with JSON"
        return ""

    def start(self, method: RawMethod, deduplicates: Callable[[str], bool]) -> dict[str, Any]:
        """Return what the table says of a start."""
        found: dict[str, Any] = {
            "verb": method["httpMethod"],
            "path": self._raw["servicePath"] + method["path"],
            "path_parameters": {},
            "query": {},
            "body": "request" in method,
            "scopes": _index(self.scopes, sorted(method.get("scopes", []))),
        }
        for name, parameter in method.get("parameters", {}).items():
            kind = {key: parameter[key] for key in KEPT_OF_A_PARAMETER if key in parameter}
            place = "path_parameters" if parameter["location"] == "path" else "query"
            found[place][name] = _index(self.kinds, kind)
        in_body = self._fields(method.get("request", {}).get("$ref"))
        for place, fields in (("query", method.get("parameters", {})), ("body", in_body)):
            if VALIDATE_ONLY in fields:
                found["validate_only"] = place
            described = fields.get(REQUEST_ID)
            if described is not None and deduplicates(described.get("description", "")):
                found["request_id"] = place
        if method.get("deprecated"):
            found["deprecated"] = True
        return found

    # --- how operations are asked for --------------------------------------------------------------------------

    def operations(self) -> list[list[Any]]:
        """
        Return which names operations have, as regular expressions below the prefix, and what can be done to each.

        Of several prefixes the shortest counts.
        """
        entries: list[list[Any]] = []
        prefix = self._prefix_of_operations()
        for methods in self._of_operations:
            verbs = {"get"} if "get" in methods else set()
            name = self._name_pattern(methods.get("get") or methods.get("cancel"), prefix)
            if name is None:
                continue
            for verb in ("cancel", "delete"):
                if verb in methods and self._name_pattern(methods[verb], prefix) == name:
                    verbs.add(verb)
            if "wait" in methods and methods["wait"]["httpMethod"] == "POST":
                verbs.add("wait")
            if "list" in methods and self._lists_below_a_parent(methods["list"]):
                verbs.add("list")
            entries.append([name, sorted(verbs)])
        return sorted(entries)

    def poll_prefix(self, methods: dict[str, Any]) -> str:
        """Return the prefix of operations; of an API that can't be asked for them that of its starts."""
        if (prefix := self._prefix_of_operations()) is not None:
            return prefix
        return next((_up_to_version(method["path"]) for method in methods.values()), "")

    def spelling(self) -> dict[str, Any]:
        """Return how cancel and wait are spelled, where that isn't the default."""
        found: dict[str, Any] = {}
        for methods in self._of_operations:
            if cancel := methods.get("cancel"):
                suffix = cancel["path"].rpartition("}")[2]
                if (suffix, cancel["httpMethod"]) != (":cancel", "POST"):
                    found |= {"cancel_suffix": suffix, "cancel_method": cancel["httpMethod"]}
            if "request" in methods.get("wait", {}):
                found["wait_timeout_in"] = "body"
        return found

    def _operations_resources(self) -> Iterator[dict[str, RawMethod]]:
        by_resource: dict[Resources, dict[str, RawMethod]] = {}
        for resources, name, method in self.methods():
            by_resource.setdefault(resources, {})[name] = method
        for resources, methods in by_resource.items():
            if not _is_of_operations(resources):
                continue
            asked = methods.get("get")
            if asked is None or self._is_standard(asked):
                yield methods

    def _is_standard(self, method: RawMethod) -> bool:
        return self._fields(method.get("response", {}).get("$ref")).keys() == OPERATION_FIELDS

    def _prefix_of_operations(self) -> str | None:
        prefixes = {self._prefix(methods["get"]) for methods in self._of_operations if "get" in methods}
        return min(prefixes, key=len) if prefixes else None

    def _template(self, method: RawMethod) -> str:
        template: str = self._raw["servicePath"] + method["path"]
        return template

    def _prefix(self, method: RawMethod) -> str:
        template = self._template(method)
        literal, _, rest = template.partition("{")
        return literal.rstrip("/") if rest.startswith("+") else _up_to_version(template)

    def _name_pattern(self, method: RawMethod | None, prefix: str | None) -> str | None:
        """Return the regular expression of the names that a method takes below a prefix; ``None``: it takes none there."""
        if method is None or self._prefix(method) != prefix:
            return None
        template = self._template(method)
        path = template[len(prefix) + 1 : template.rindex("}") + 1]

        def pattern(variable: re.Match[str]) -> str:
            described = method["parameters"][variable[0].strip("{+}")].get("pattern", "^[^/]+$")
            return str(described).removeprefix("^").removesuffix("$")

        return re.sub(r"\{\+?\w+\}", pattern, path)

    def _lists_below_a_parent(self, method: RawMethod) -> bool:
        """Tell whether a list is ``{parent}/operations``, which is how it is asked for."""
        path = method["path"]
        if variable := _LAST_VARIABLE.search(path):
            path = method["parameters"][variable[0].strip("{+}")].get("pattern", "").strip("^$")
        return bool(re.search(r"(^|/)operations$", path))

    def _fields(self, schema: str | None) -> dict[str, Any]:
        fields: dict[str, Any] = self._raw.get("schemas", {}).get(schema, {}).get("properties", {})
        return fields


def methods_of(raw: dict[str, Any], here: Resources) -> Iterator[tuple[Resources, str, RawMethod]]:
    """Yield the methods of a document or of a resource in it, with the resources that each is in, and its name."""
    for name, method in raw.get("methods", {}).items():
        yield here, name, method
    for name, resource in raw.get("resources", {}).items():
        yield from methods_of(resource, (*here, name))


def _is_of_operations(resources: Resources) -> bool:
    return bool(resources) and resources[-1].lower().endswith("operations")


def _reads(name: str, method: RawMethod) -> bool:
    return method["httpMethod"] == "GET" or name in {"get", "list", "wait"}


def _up_to_version(template: str) -> str:
    """Return what stands before names: all up to the version."""
    segments = template.partition("{")[0].split("/")
    version = next((at for at, segment in enumerate(segments) if _VERSION.fullmatch(segment)), -1)
    return "/".join(segments[: version + 1])


def _index(known: list[Any], value: Any) -> int:
    if value not in known:
        known.append(value)
    return known.index(value)


def _endpoints(raw: dict[str, Any]) -> dict[str, list[Any]]:
    """
    Return the addresses of locations: by kind, a template and the locations that it is for.

    Of several templates of one kind (``batch-datastore``, ``aiplatform-preprod``) the shortest counts.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for place in raw.get("endpoints", []):
        location = place["location"]
        name = rf"(?<=[/.]){re.escape(location)}(?=[.-])"
        template = re.sub(name, "{location}", place["endpointUrl"].rstrip("/"))
        kind = place.get("description", "").partition(" ")[0].lower()
        found.setdefault(kind, {}).setdefault(template, []).append(location)
    shortest = {kind: min(templates, key=len) for kind, templates in found.items()}
    return {kind: [template, sorted(found[kind][template])] for kind, template in sorted(shortest.items())}
