"""
Where Google's APIs tell how far an operation is: a census of the metadata in the API documents, and what is read of it.

No document says which metadata an operation has: ``Operation.metadata`` is of any type. So a schema is taken for an
operation's metadata if nothing in the document refers to it, neither a method nor another schema, and it is called so
(``CreateInstanceMetadata``, ``OperationMetadataV1``) or described so. A method that starts an operation has the
metadata that is called as it is (``instances.create``: ``CreateInstanceMetadata``), else as its collection is
(``ClusterOperationMetadata``), else as nothing in particular is (``OperationMetadata``), else the document's only one.
Where that leaves several, as of several versions, it counts as read if all of them are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_operations._json.metadata import COUNTS, DEEDS, MESSAGES, PAIRS, PERCENTS, STATES
from airflow_provider_operations.operation import Operation

from .google_documents import OPERATION_FIELDS, documents
from .test_google_documents import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

Schemas = dict[str, dict[str, Any]]

CALLED_METADATA = re.compile(r"Meta?t?data(V\d\w*)?$")
"""One of Google's is misspelled."""

NOT_OF_OPERATIONS = re.compile(r"LocationMetadata$|Schema\w+(Dataset|SavedQuery)Metadata$|RequestMetadata$")
"""Described as metadata of locations, datasets, saved queries and any requests."""

DESCRIBED_AS_METADATA = re.compile(r"(as|in) the `?metadata`? field|^Metadata describing a long running")

DEPTH = 4
"""How far a metadata's fields of fields are looked at."""


class Share(NamedTuple):
    """How much is read of all that is documented."""

    methods: int
    """Of those that start an operation."""
    percent: int
    """Those of whose metadata a percent is read."""
    any: int
    """Those of whose metadata percent, count, message or state is read."""
    schemas: int
    """The same of all metadata schemas, of methods or not."""


BEFORE = Share(methods=3278, percent=78, any=2256, schemas=357)
"""With the rules of before this census, by the same count; they looked at the metadata's own fields alone."""

NOW = Share(methods=3278, percent=135, any=2461, schemas=669)
"""
What is left has little but times, names and failures. Not looked into: a map by table (Bigtable's ``CreateCluster``),
lists of events whose order isn't said, and steps without a text of their own.
"""


@dataclass(repr=False)
class Census:
    """
    What the documents say of metadata.

    :param metadata: by document, the metadata schemas.
    :param schemas: by document, all.
    :param methods: by document and method, its metadata schemas.
    :param undocumented: how many methods have no metadata that could be told.
    """

    metadata: dict[str, list[str]] = field(default_factory=dict)
    schemas: dict[str, Schemas] = field(default_factory=dict)
    methods: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    undocumented: int = 0

    def roots(self) -> Iterator[tuple[str, str]]:
        """Yield every metadata schema with its document."""
        for document, names in self.metadata.items():
            for name in names:
                yield document, name

    def having(self, *paths: str) -> set[tuple[str, str]]:
        """Return the metadata schemas that have a field, or several, at these paths."""
        return {
            (document, name)
            for document, name in self.roots()
            if all(_has(self.schemas[document], self.schemas[document][name], path) for path in paths)
        }

    def sample(self, document: str, name: str) -> dict[str, Any]:
        """Make metadata up in which every field says something, but what the operation does."""
        made: dict[str, Any] = _sample(self.schemas[document], {"$ref": name}, DEPTH)
        return {key: value for key, value in made.items() if key not in DEEDS}


@pytest.fixture(scope="module")
def census() -> Census:
    """Read all documents, once."""
    return _census()


@cache
def _census() -> Census:
    found = Census()
    for document in documents():
        schemas: Schemas = document.raw.get("schemas", {})
        operations = {
            name
            for name, schema in schemas.items()
            if schema.get("properties", {}).keys() == OPERATION_FIELDS
        }
        if not operations:
            continue
        used = {
            *_references({key: document.raw.get(key) for key in ("methods", "resources")}),
            *(other for name, schema in schemas.items() for other in _references(schema) if other != name),
        }
        found.metadata[document.name] = [
            name for name in schemas if name not in used and _is_metadata(name, schemas[name])
        ]
        found.schemas[document.name] = schemas
        for method in _starting(document.raw, operations, ()):
            metadata = _metadata_of(method, found.metadata[document.name])
            if metadata:
                found.methods[document.name, ".".join(method)] = metadata
            else:
                found.undocumented += 1
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _is_metadata(name: str, schema: dict[str, Any]) -> bool:
    if NOT_OF_OPERATIONS.search(name):
        return False
    return bool(CALLED_METADATA.search(name) or DESCRIBED_AS_METADATA.search(schema.get("description", "")))


def _starting(raw: dict[str, Any], operations: set[str], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the methods that answer with an operation, but for those of operations."""
    for verb, method in raw.get("methods", {}).items():
        if method.get("response", {}).get("$ref") in operations:
            yield (*above, verb)
    for name, resource in raw.get("resources", {}).items():
        if not name.lower().endswith("operations"):
            yield from _starting(resource, operations, (*above, name))


def _metadata_of(method: tuple[str, ...], metadata: list[str]) -> list[str]:
    *resources, verb = method
    verb = _capital(verb.removesuffix("Async").replace("patch", "update"))
    collection = _capital(resources[-1]) if resources else ""
    by_stem = defaultdict(list)
    for name in metadata:
        by_stem[_stem(name)].append(name)
    named = [verb, verb + collection, verb + _singular(collection)]
    for stems in (named, [_singular(collection)] if collection else [], [""]):
        if found := [name for stem in dict.fromkeys(stems) for name in by_stem.get(stem, [])]:
            return found
    return metadata if len(metadata) == 1 else []


def _stem(name: str) -> str:
    """Return what a metadata schema is called after: ``CreateInstance``; nothing if it is for all."""
    name = re.sub(r"^(Google|Cloudresourcemanager)\w*?V\d+([a-z]+\d*)*_*(?=[A-Z])", "", name)
    return re.sub(r"(Long[Rr]unning)?(Operation)?(Meta?t?data)?(V\d\w*)?$", "", name)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(sses|xes|ches)$", word) else word.removesuffix("s")


def _has(schemas: Schemas, schema: dict[str, Any], path: str) -> bool:
    key, _, rest = path.partition(".")
    below: dict[str, Any] | None = schema.get("properties", {}).get(key.removesuffix("[]"))
    if below is None or (below.get("type") == "array") != key.endswith("[]"):
        return False
    below = below.get("items", below)
    if "$ref" in below:
        return bool(rest) and _has(schemas, schemas[below["$ref"]], rest)
    return not rest and below.get("type") in {"string", "integer", "number"}


def _sample(schemas: Schemas, schema: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if "$ref" in schema:
        properties = schemas[schema["$ref"]].get("properties", {}) if depth else {}
        return {key: _sample(schemas, below, depth - 1) for key, below in properties.items()}
    if kind == "array":
        return [_sample(schemas, schema["items"], depth)]
    if "enum" in schema:
        known = {"IN_PROGRESS", "RUNNING"}.intersection(schema["enum"])
        return min(known) if known else schema["enum"][-1]
    numbers = {"integer": 40, "number": 40.0, "boolean": True, "object": {}}
    return numbers.get(kind or "", "40" if schema.get("format") == "int64" else "text")


def _share(census: Census) -> Share:
    percent, anything = set(), set()
    for document, name in census.roots():
        progress = Operation("x", metadata=census.sample(document, name)).progress
        if progress.percent is not None:
            percent.add((document, name))
        if str(progress):
            anything.add((document, name))
    return Share(
        len(census.methods),
        sum(
            all((document, name) in percent for name in names)
            for (document, _), names in census.methods.items()
        ),
        sum(
            all((document, name) in anything for name in names)
            for (document, _), names in census.methods.items()
        ),
        len(anything),
    )


def _said(when: str, share: Share, census: Census) -> str:
    schemas = len(list(census.roots()))
    return (
        f"{when}: of {share.methods} methods percent of {share.percent} ({share.percent / share.methods:.1%}), "
        f"anything of {share.any} ({share.any / share.methods:.1%}); anything of {share.schemas} of {schemas} schemas"
    )


@counted
def test_the_share_of_methods_whose_progress_is_read(census: Census) -> None:
    """It doesn't fall; ``pytest -s`` prints it, before this census and now."""
    share = _share(census)
    print()
    print(_said("before", BEFORE, census))
    print(_said("now", share, census))
    print(f"methods whose metadata isn't documented: {census.undocumented}")
    assert share == NOW
    assert all(now >= before for now, before in zip(share, BEFORE, strict=True))


RULES = [
    *((path,) for path in (*PERCENTS, *MESSAGES, *STATES, *DEEDS)),
    *((pair.completed, pair.estimated) for pair in PAIRS),
    *((count.completed,) for count in COUNTS),
]


@counted
@pytest.mark.parametrize("paths", dict.fromkeys(RULES), ids=" / ".join)
def test_every_rule_is_in_the_census(census: Census, paths: tuple[str, ...]) -> None:
    """Nothing is guessed: each path that is read is a field of metadata that some service documents."""
    found = census.having(*paths)
    print(f"\n{' / '.join(paths)}: {len(found)} schemas, such as", *sorted(found)[:1])
    assert found
