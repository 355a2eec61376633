"""A user's own API document is read as the table's are; what is no document is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.discovery_cache import DISCOVERY_DOC_DIR

from airflow_provider_operations._google_apis import table
from airflow_provider_operations.google_apis import ApiDocument, InvalidDocument, UnknownMethod
from tests.google_apis.test_table import without_request_ids

OPERATION: dict[str, Any] = {
    "properties": {key: {} for key in ("name", "done", "error", "metadata", "response")}
}
NAMED = {"name": {"type": "string", "location": "path", "pattern": "^projects/[^/]+/operations/[^/]+$"}}
EXAMPLE: dict[str, Any] = {
    "id": "example:v3",
    "rootUrl": "https://example.com/",
    "servicePath": "",
    "schemas": {
        "Operation": OPERATION,
        "Thing": {"properties": {"size": {}, "requestId": {"description": "A request id."}}},
    },
    "resources": {
        "projects": {
            "resources": {
                "things": {
                    "methods": {
                        "make": {
                            "id": "example.projects.things.make",
                            "httpMethod": "POST",
                            "path": "v3/{+parent}/things:make",
                            "parameters": {
                                "parent": {
                                    "type": "string",
                                    "location": "path",
                                    "pattern": "^projects/[^/]+$",
                                },
                                "dry": {"type": "boolean", "location": "query"},
                            },
                            "request": {"$ref": "Thing"},
                            "response": {"$ref": "Operation"},
                        }
                    }
                },
                "operations": {
                    "methods": {
                        "get": {
                            "id": "example.projects.operations.get",
                            "httpMethod": "GET",
                            "path": "v3/{+name}",
                            "parameters": NAMED,
                            "response": {"$ref": "Operation"},
                        },
                        "cancel": {
                            "id": "example.projects.operations.cancel",
                            "httpMethod": "POST",
                            "path": "v3/{+name}/cancel",
                            "parameters": NAMED,
                        },
                    }
                },
            }
        }
    },
}
MAKE = "example.projects.things.make"
GIVEN: dict[str, Any] = {"parameters": {"parent": "projects/p", "dry": False}, "json": {"size": 3}}


@pytest.mark.parametrize("name", ["file:v1", "speech:v1", "aiplatform:v1", "cloudidentity:v1", "drive:v3"])
def test_googles_own_are_read_as_the_table_has_them(name: str) -> None:
    """A document that the table has too is the same but for request ids, which nobody has reviewed."""
    path = Path(DISCOVERY_DOC_DIR) / f"{name.replace(':', '.')}.json"
    known = table.document(name)
    assert known is not None
    for source in (path, str(path), json.loads(path.read_bytes())):
        own = ApiDocument(source)
        assert own.name == name
        assert own._entry == without_request_ids(known._entry)


def test_methods_are_found() -> None:
    """By their ids, with the version or without; the error says what there is."""
    own = ApiDocument(EXAMPLE)
    assert own.find(MAKE).id == own.find("example:v3.projects.things.make").id
    assert (own.path_prefix, own.cancel_suffix, own.root_url) == ("v3", "/cancel", "https://example.com")
    for unknown, says in (
        ("example.projects.things.mak", r"did you mean example:v3\.projects\.things\.make\?"),
        (
            "file.projects.locations.instances.create",
            r"isn't in example:v3, whose ids begin with 'example\.'",
        ),
    ):
        with pytest.raises(UnknownMethod, match=says):
            own.find(unknown)


def test_request_ids_are_the_authors_to_promise() -> None:
    """No start is sent again by an id of which nobody has said that the service recognises it."""
    assert ApiDocument(EXAMPLE).find(MAKE).request_id_in is None
    assert ApiDocument(EXAMPLE, recognises_request_ids=True).find(MAKE).request_id_in == "body"


def changed(*path: str, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLE)
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = to
    return document


THINGS = ("resources", "projects", "resources", "things", "methods", "make")
OPERATIONS = ("resources", "projects", "resources", "operations", "methods")
BAD: list[Any] = [
    pytest.param({}, "it lacks 'name'", id="empty"),
    pytest.param([], "as Google's discovery service has them", id="list"),
    pytest.param({"openapi": "3.0.0", "paths": {}}, "as Google's discovery service has them", id="openapi"),
    pytest.param(changed("id", to="../x"), "its id is like example:v1, and not", id="id"),
    pytest.param(changed("rootUrl", to="https://a.example\\.b.example/"), "its rootUrl", id="two-hosts"),
    pytest.param(changed("rootUrl", to="file:///etc"), "its rootUrl", id="no-host"),
    pytest.param(changed("schemas", to={}), "none of its methods answers with an operation", id="none"),
    pytest.param(changed(*THINGS, "httpMethod", to="TRACE"), "the start's method is one of", id="verb"),
    pytest.param(
        changed(*THINGS, "path", to="v3/../{+parent}"), "the path of projects.things.make", id="climbs"
    ),
    pytest.param(
        changed(*THINGS, "id", to="example.projects.things.\x1b[2Jmake"),
        r"'projects.things.\\x1b\[2Jmake' in it has a control character",
        id="id that steers a terminal",
    ),
    pytest.param({**EXAMPLE, "title": "An API\nERROR"}, "has a control character", id="title of two lines"),
    pytest.param(changed(*THINGS, "scopes", to="https://a.example/auth"), "scopes .* no list", id="scopes"),
    pytest.param({**EXAMPLE, "title": {"a": 1}}, "its title is no text", id="title"),
    pytest.param(
        changed(*THINGS, "path", to="v3/..{+parent}"), "the path of projects.things.make", id="may climb"
    ),
    pytest.param(changed(*THINGS, "path", to="v3/{+parent}?x=1"), "the path of", id="query"),
    pytest.param(changed(*THINGS, "path", to="v3/{+other}/x"), "don't go together: other, parent", id="vars"),
    pytest.param(changed(*THINGS, "parameters", "parent", "pattern", to="^(a"), "unterminated", id="pattern"),
    pytest.param(
        changed(*THINGS, "parameters", "parent", "pattern", to="a{99999999999999}"),
        "the repetition number is too large",
        id="overflow",
    ),
    pytest.param(
        changed(*THINGS, "parameters", "parent", "pattern", to="^([^/]+)+$"),
        r"repeats a group",
        id="pattern without end",
    ),
    pytest.param(
        changed(*OPERATIONS, "get", "parameters", "name", "pattern", to="^(a|aa)*$"),
        r"repeats a group",
        id="pattern of names without end",
    ),
    pytest.param(
        changed(*THINGS, "parameters", "dry", to={"location": "query"}),
        "its parameter 'dry' of projects.things.make lacks a type",
        id="no type",
    ),
    pytest.param(
        changed(*THINGS, "parameters", "dry", "enum", to="abc"),
        "its parameter 'dry' of projects.things.make has an enum that is no list of texts",
        id="enum",
    ),
    pytest.param(
        changed(*OPERATIONS, "cancel", "path", to="v3/{+name}"),
        "its operations are cancelled by ':cancel' or '/cancel' after their names, and not by ''",
        id="cancel without a suffix",
    ),
    pytest.param(
        changed(*OPERATIONS, "cancel", "path", to="v3/{+name}/../x"),
        "and not by '/../x'",
        id="cancel climbs",
    ),
    pytest.param(
        changed(*OPERATIONS, "cancel", "httpMethod", to="TRACE"),
        "its operations can't be cancelled: .* not 'TRACE'",
        id="cancel by another method",
    ),
    pytest.param(
        changed(*OPERATIONS, "get", "path", to="v3/../{+name}"),
        r"the path of its operations begins like v1, and not with 'v3/\.\.'",
        id="get climbs",
    ),
    pytest.param(
        {**EXAMPLE, "endpoints": [{"location": "eu", "endpointUrl": "https://x.example"}]},
        "doesn't have its location in it once",
        id="endpoint",
    ),
]


@pytest.mark.parametrize(("document", "says"), BAD)
def test_what_is_no_document(document: Any, says: str, tmp_path: Path) -> None:
    """It is refused when the DAG is parsed, with the reason, from a file as well."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidDocument, match=says):
        ApiDocument(path)
    if isinstance(document, dict):
        with pytest.raises(InvalidDocument, match=says):
            ApiDocument(document)


def nested(depth: int) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLE)
    part = document["resources"]
    for _ in range(depth):
        part["inner"] = {"resources": {}}
        part = part["inner"]["resources"]
    return document


def test_a_document_without_end(tmp_path: Path) -> None:
    """One that is nested deeper than Python reads, or holds itself, is refused as others are."""
    endless = copy.deepcopy(EXAMPLE)
    endless["resources"]["inner"] = endless
    deep = tmp_path / "deep.json"
    deep.write_text('{"resources":' * 100_000 + "1" + "}" * 100_000)
    bad: list[Any] = [
        endless,
        nested(3000),
        deep,
        changed(*THINGS, "parameters", "parent", "pattern", to="(" * 5000 + ")" * 5000),
    ]
    for source in bad:
        with pytest.raises(InvalidDocument, match="nested too deeply"):
            ApiDocument(source)


def test_patterns_that_look_like_a_repeated_group() -> None:
    """A parenthesis that is escaped or in a class is none."""
    harmless = r"^\(a\)+[()]+(b|c)$"
    own = ApiDocument(changed(*THINGS, "parameters", "parent", "pattern", to=harmless))
    assert own.find(MAKE).parameters["parent"].pattern == harmless


def test_a_document_that_is_read_twice_is_the_same() -> None:
    """So a hook takes a method that another module has found."""
    first, second = ApiDocument(EXAMPLE), ApiDocument(copy.deepcopy(EXAMPLE))
    assert first == second
    assert hash(first) == hash(second)
    assert first.find(MAKE) == second.find(MAKE)
    assert first != ApiDocument(EXAMPLE, recognises_request_ids=True)
    assert first != "example:v3"


def test_the_addresses_of_locations_are_compared_as_hosts_are() -> None:
    """What is asked for in one location isn't sent to another, however the document writes its hosts."""
    place = {"location": "eu", "endpointUrl": "https://eu-x.EXAMPLE.com/", "description": "Regional Endpoint"}
    own = ApiDocument({**EXAMPLE, "endpoints": [place]})
    assert own.endpoint("regional", "eu") == "https://eu-x.example.com"
    assert own.location_of("us-x.example.com") == "us"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://example.com/$discovery/rest?version=v3", "isn't fetched"),
        ("example.json", r"write Path\(__file__\)\.with_name\('example\.json'\)"),
        ("/no/such/file.json", "No such file"),
        (__file__, "can't be read as an API document"),
    ],
)
def test_what_is_no_file(source: str, says: str) -> None:
    """Nothing is fetched, and no file is looked for in whatever folder a process happens to run in."""
    with pytest.raises(InvalidDocument, match=says):
        ApiDocument(source)
