"""Names stay below the prefix that the connection gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations._connection.settings import (
    ConnectionFields,
    InvalidConnection,
    read_settings,
)
from airflow_provider_operations._protocol.request import InvalidName, Service
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Told

CLIMBING = ["operations/..;/x", "..;/admin", "operations/.;v=1/x", "operations/x/..;jsessionid=1"]


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A server that would answer."""
    with RawServer(sends(answer())) as running:
        yield running


@pytest.mark.parametrize("name", CLIMBING)
def test_parameters_hide_no_dot_segment(ask: Callable[..., Told], server: RawServer, name: str) -> None:
    """``..;a`` climbs on servers that take parameters off a segment before they resolve it: refused."""
    told = ask(name, host=server.url)
    assert [seen.line for seen in server.seen if ";" in seen.line] == []
    assert "has a '.' or '..' segment, which would leave the prefix" in told.problem


@pytest.mark.parametrize("name", CLIMBING)
def test_neither_in_starts_nor_in_lists(name: str) -> None:
    """Start paths, list parents and the prefix pass the same check."""
    service = Service("https://h.example")
    with pytest.raises(InvalidName):
        service.start_operation(name)
    with pytest.raises(InvalidName):
        service.list_operations(name, None, None, None)
    with pytest.raises(InvalidConnection, match="path_prefix"):
        read_settings(ConnectionFields("c", host="h.example"), {"path_prefix": name})


@pytest.mark.parametrize("name", ["operations/a;v=1", "operations/..a;b", "operations/...;b", "a;/x"])
def test_other_parameters_are_kept(ask: Callable[..., Told], server: RawServer, name: str) -> None:
    """A semicolon alone is no reason to refuse a name."""
    assert ask(name, host=server.url, extra={"path_prefix": ""}).operation
    assert {seen.line for seen in server.seen} >= {f"GET /{name} HTTP/1.1"}
