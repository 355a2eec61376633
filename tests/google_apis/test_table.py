"""The table is what the generator makes of the documents, and is read in no time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_operations._google_apis import table
from tests.hooks.test_google_documents import counted
from tests.tooling.google_apis import generate
from tests.tooling.google_apis.page import PAGE, page_with, table_of
from tests.tooling.google_apis.request_ids import Promises


@counted
@pytest.mark.slow
def test_the_table_is_generated() -> None:
    """
    What is committed is what the installed documents bring.

    Each description of a request id is classed, and none is classed that isn't there. A version that was the default stays
    it, and each default that a new table has is among them.
    """
    promises = Promises.reviewed()
    found = generate.entries(promises)
    assert (promises.unknown, promises.known - promises.asked) == (set(), set())
    committed = {name: table.document(name) for name in table.documents()}
    assert committed.keys() == found.keys()
    different = [name for name, each in committed.items() if each is None or each._entry != found[name]]
    assert different == []
    defaults = generate.committed_defaults()
    assert {key: defaults.get(key) for key in generate.defaults(found)} == generate.defaults(found)


def without_request_ids(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the table would have of a document of which nobody has read what its request ids promise."""
    methods = {
        short_id: {key: value for key, value in method.items() if key != "request_id"}
        for short_id, method in entry["methods"].items()
    }
    return {**entry, "methods": methods}


def test_a_newer_table_moves_no_default(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that a second stable version has by now keeps the version that it had; what is new is added."""
    entry = {"operations": [["operations/.*", ["get"]]], "methods": {"things.create": {}}}
    assert generate.defaults({"x:v1": entry}) == {"x": "v1", "x.things.create": "v1"}
    monkeypatch.setattr(
        generate, "committed_defaults", lambda: {"x": "v1", "x.things.create": "v1", "x.old": "v1"}
    )
    newer = {"x:v1": entry, "x:v2": {**entry, "methods": {"things.create": {}, "things.move": {}}}}
    assert generate.kept_defaults(newer) == {
        "x": "v1",
        "x.things.create": "v1",
        "x.old": "v1",
        "x.things.move": "v2",
    }


def test_the_page_has_every_api() -> None:
    """The documentation's table is the one that is committed."""
    entries = {name: each._entry for name in table.documents() if (each := table.document(name))}
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with(page, table_of(entries, generate.committed_defaults()))


def test_defaults_are_stable_versions_with_get() -> None:
    """No default is a pre-release, and each can be found in the table."""
    for key, version in generate.committed_defaults().items():
        api, _, method = key.partition(".")
        assert re.fullmatch(r"v\d+", version)
        document = table.document(f"{api}:{version}")
        assert document is not None
        assert document.has_get
        assert not method or method in document.method_ids


@pytest.mark.parametrize(
    ("name", "operation", "verbs"),
    [
        pytest.param("file:v1", "projects/p/locations/l/operations/o", "cancel delete get list", id="file"),
        pytest.param(
            "file:v1", "v1/projects/p/locations/l/operations/o", "cancel delete get list", id="prefix"
        ),
        pytest.param(
            "documentai:v1", "projects/p/locations/l/operations/o", "cancel get list", id="documentai"
        ),
        pytest.param("documentai:v1", "projects/p/operations/o", "get", id="documentai-without-location"),
        pytest.param("appengine:v1", "apps/a/operations/o", "get list", id="appengine-flat"),
        pytest.param("run:v2", "projects/p/locations/l/operations/o", "delete get list wait", id="run"),
        pytest.param("drive:v3", "operations/o", "get", id="drive"),
        pytest.param("cloudidentity:v1", "operations/o", "", id="cloudidentity-has-no-get"),
        pytest.param("file:v1", "something/else", "", id="of-no-pattern"),
    ],
)
def test_what_can_be_done_to_an_operation(name: str, operation: str, verbs: str) -> None:
    """It depends on the operation's name, and not on the API alone."""
    document = table.document(name)
    assert document is not None
    assert " ".join(sorted(document.verbs_of(operation))) == verbs


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("file:v1", "v1"),
        ("cloudresourcemanager:v2", "v1"),
        ("speech:v1", "v1/operations"),
        ("videointelligence:v1", "v1"),
        ("pubsublite:v1", "v1/admin"),
        ("drive:v3", "drive/v3"),
        ("appengine:v1", "v1"),
        ("cloudidentity:v1", "v1"),
    ],
)
def test_poll_prefixes(name: str, prefix: str) -> None:
    """Where operations are asked for isn't always where they are started."""
    document = table.document(name)
    assert document is not None
    assert document.path_prefix == prefix


def test_endpoints() -> None:
    """An address for each location, and the ones that are regional only by wish."""
    vertex, redis = table.document("aiplatform:v1"), table.document("redis:v1")
    assert vertex is not None
    assert redis is not None
    assert (vertex.is_locational, redis.is_locational) == (True, False)
    assert vertex.endpoint("locational", "europe-west1") == "https://europe-west1-aiplatform.googleapis.com"
    assert vertex.endpoint("locational", "global") is None
    assert redis.endpoint("regional", "europe-west1") == "https://redis.europe-west1.rep.googleapis.com"
    assert redis.endpoint("locational", "europe-west1") is None


def test_mutual_tls_is_never_chosen() -> None:
    """An address that wants a client's certificate is asked only where somebody says so."""
    for name in table.documents():
        found = table.document(name)
        assert found is not None
        assert ".mtls." not in json.dumps([found.root_url, found._entry["endpoints"]])


TIMED = """
import sys, time
from airflow_provider_operations._google_apis.lookup import find_method
ids = sys.argv[1:]
began = time.process_time()
for each in ids:
    find_method(each)
print((time.process_time() - began) * 1000)
"""


@pytest.mark.slow
def test_reading_is_quick() -> None:
    """
    The first method of a process is found in some milliseconds, and nine more of other APIs in as many again.

    The bounds are ten times what is measured (2 ms and 5 ms of CPU), so that they fail only if all is read at once.
    """
    ids = [
        key
        for key in generate.committed_defaults()
        if key.endswith((".instances.create", ".clusters.create", ".databases.updateDdl"))
    ][:10]
    assert len({each.partition(".")[0] for each in ids}) >= 5
    for some, bound_ms in ((ids[:1], 20), (ids, 50)):
        command = [sys.executable, "-c", TIMED, *some]
        took = min(
            float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(3)
        )
        assert took < bound_ms
