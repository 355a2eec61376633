"""Starts that Google's own emulators were seen to take: the same are made by the methods' ids."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_operations._google_apis.call import call_of
from airflow_provider_operations._google_apis.lookup import find_method
from tests.hooks.test_replays import RECORDED

DATABASE = "projects/demo/instances/i1/databases/db1"


@pytest.mark.parametrize(
    ("recorded", "method", "parameters"),
    [
        (
            "spanner-emulator/01-start-instance",
            "spanner.projects.instances.create",
            {"parent": "projects/demo"},
        ),
        (
            "spanner-emulator/03-start-database",
            "spanner.projects.instances.databases.create",
            {"parent": "projects/demo/instances/i1"},
        ),
        (
            "spanner-emulator/07-start-ddl-ok",
            "spanner.projects.instances.databases.updateDdl",
            {"database": DATABASE},
        ),
        (
            "functions-emulator/01-start-ok",
            "cloudfunctions:v1.projects.locations.functions.create",
            {"location": "projects/demo/locations/us-central1"},
        ),
        (
            "functions-emulator/10-start-delete",
            "cloudfunctions:v1.projects.locations.functions.delete",
            {"name": "projects/demo/locations/us-central1/functions/hello"},
        ),
        (
            "datastore-emulator/02-start-export-done-without-name",
            "datastore.projects.export",
            {"projectId": "demo"},
        ),
        (
            "datastore-emulator/03-start-import-done-without-name",
            "datastore.projects.import",
            {"projectId": "demo"},
        ),
    ],
)
def test_recorded_starts(recorded: str, method: str, parameters: dict[str, Any]) -> None:
    """Method, path and body are those that the emulator has answered with an operation."""
    head, _, payload = (RECORDED / f"{recorded}.request.http").read_bytes().partition(b"\r\n\r\n")
    answered = (RECORDED / f"{recorded}.response.http").read_bytes()
    assert answered.split(b" ")[1] == b"200"
    body = json.loads(payload) if payload.strip() else None
    call = call_of(find_method(method), parameters, body)
    assert f"{call.verb} {call.path} HTTP/1.1" == head.decode().splitlines()[0]
    assert (call.query, call.body) == ({}, body)
