from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations.emulator.errors import ApiError
from airflow_provider_operations.emulator.filters import parse_filter
from airflow_provider_operations.emulator.routes import Call, classify, parent_of, readings

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = {"operations/x", "projects/p/operations/x", "bare", "a//b+c=", "op/cancel"}


def known(names: Sequence[str]) -> str | None:
    return next((name for name in names if name in KNOWN), None)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/operations/x", Call("get", "operations/x")),
        ("GET", "/v1beta1/projects/p/operations/x", Call("get", "projects/p/operations/x")),
        ("GET", "/v1/admin/projects/p/operations/x", Call("get", "projects/p/operations/x")),
        ("GET", "/drive/v3/operations/bare", Call("get", "bare")),
        ("GET", "/operations/x", Call("get", "operations/x")),
        ("GET", "/any/prefix/operations/x", Call("get", "operations/x")),
        ("GET", "/v1/a//b+c=", Call("get", "a//b+c=")),
        ("GET", "/v1/op/cancel", Call("get", "op/cancel")),
        ("GET", "/v1/projects/p/operations/unknown", Call("get", "projects/p/operations/unknown")),
        ("GET", "/v1/operations", Call("list", parents=("",))),
        ("GET", "/v1/projects/p/operations", Call("list", parents=("projects/p", "p"))),
        ("GET", "/v1/projects/p/things/t", Call("other")),
        ("GET", "/", Call("other")),
        ("POST", "/v1/operations/x:cancel", Call("cancel", "operations/x")),
        ("POST", "/v1/unknown:cancel", Call("cancel", "unknown")),
        ("POST", "/v1/operations/x/cancel", Call("cancel", "operations/x")),
        ("GET", "/v1/operations/x/cancel", Call("cancel", "operations/x")),
        ("POST", "/v1/bare:wait", Call("wait", "bare")),
        ("DELETE", "/v1/operations/unknown", Call("delete", "operations/unknown")),
        ("DELETE", "/v1/bare", Call("delete", "bare")),
        ("DELETE", "/v1/projects/p/things/t", Call("start", target="projects/p/things/t", verb="delete")),
        ("POST", "/v1/projects/p/things:run", Call("start", target="projects/p/things", verb="run")),
        ("POST", "/v1/things", Call("start", target="things", verb="create")),
        (
            "PATCH",
            "/v1/admin/projects/p/things/t",
            Call("start", target="projects/p/things/t", verb="update"),
        ),
        ("POST", "/", Call("other")),
        ("PUT", "/v1", Call("other")),
        ("OPTIONS", "/v1/operations/x", Call("other")),
    ],
)
def test_requests_are_understood_under_any_prefix(method: str, path: str, expected: Call) -> None:
    """Every prefix in Google's API documents leads to the operation, and custom verbs to their kind."""
    assert classify(method, path, known) == expected


def test_a_version_ends_the_prefix() -> None:
    """A client that repeats the parent in a URL is not helped to find the operation."""
    assert readings("/v1/projects/p/projects/p/operations/x") == [
        "projects/p/projects/p/operations/x",
        "p/projects/p/operations/x",
    ]


@pytest.mark.parametrize(
    ("target", "parent"),
    [
        ("things", ""),
        ("things/t", ""),
        ("projects/p", "projects/p"),
        ("projects/p/things", "projects/p"),
        ("projects/p/things/t", "projects/p"),
        ("projects/p/locations/l", "projects/p/locations/l"),
        ("projects/p/locations/l/jobs", "projects/p/locations/l"),
        ("projects/p/instances/i/databases", "projects/p/instances/i"),
    ],
)
def test_operations_live_beside_their_target(target: str, parent: str) -> None:
    """A new operation is named under the parent of the resource that it's about."""
    assert parent_of(target) == parent


OPERATIONS = {
    "a": {"name": "a", "done": False, "metadata": {"verb": "run", "n": {"deep": 3}}},
    "b": {"name": "b", "done": True, "metadata": {"verb": "re run", "flag": True}},
}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "ab"),
        ("  ", "ab"),
        ("done", "b"),
        ("done=true", "b"),
        ("done = false", "a"),
        ("done:false", "a"),
        ("NOT done", "a"),
        ("-done", "a"),
        ("NOT done=false", "b"),
        ("name=a", "a"),
        ('name="b"', "b"),
        ("metadata.verb=run", "a"),
        ('metadata.verb = "re run"', "b"),
        ("metadata.n.deep=3", "a"),
        ("metadata.flag=true AND done", "b"),
        ("done AND name=a", ""),
        ("metadata.none=1", ""),
    ],
)
def test_filters_select(text: str, names: str) -> None:
    """Each supported filter selects exactly the operations that it describes."""
    matches = parse_filter(text)
    assert "".join(name for name, operation in OPERATIONS.items() if matches(operation)) == names


@pytest.mark.parametrize(
    "text",
    [
        "state=RUNNING",
        "done=maybe",
        "done AND",
        "done OR name=a",
        "done name=a",
        "metadata.verb",
        "(done)",
        "done != true",
    ],
)
def test_filters_that_cannot_be_read_are_refused(text: str) -> None:
    """A filter outside the supported part is an error and never an unfiltered list."""
    with pytest.raises(ApiError) as refused:
        parse_filter(text)
    assert [violation.field for violation in refused.value.violations] == ["filter"]
