"""Tokens, and what they are got with, are nowhere but in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.token_server import CLIENT, TokenServer

from .test_airflow import finished, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def tokens(airflow: Standalone, emulator: EmulatorProcess) -> Iterator[TokenServer]:
    """A token server, and two connections to the emulator with tokens of it."""
    with TokenServer() as tokens:
        oauth2 = {"auth": "oauth2", "token_url": tokens.token_url}
        google = {
            "auth": "google",
            "keyfile_dict": tokens.service_account(),
            "allowed_hosts": "127.0.0.1",
        }
        for kind, extra in {"oauth2": oauth2, "google": google}.items():
            body = {
                "connection_id": f"secret_{kind}",
                "conn_type": "operations",
                "host": emulator.url,
                "login": CLIENT[0],
                "password": CLIENT[1],
                "extra": json.dumps(extra),
            }
            airflow.api("POST", "/connections", json=body)
        yield tokens


@pytest.mark.parametrize("kind", ["oauth2", "google"])
def test_nowhere_but_in_memory(
    airflow: Standalone, emulator: EmulatorProcess, tokens: TokenServer, kind: str
) -> None:
    """
    After a run neither tokens nor what they were got with are in the database, in an XCom or in a log.

    The database holds the connection itself, encrypted, and the trigger's arguments.
    """
    before = len(tokens.issued)
    run_id = finished(airflow, f"e2e_secrets_{kind}")
    assert states(airflow, f"e2e_secrets_{kind}", run_id) == {
        "start": {"success"},
        "wait": {"success"},
        "fail": {"failed"},
    }
    assert len(tokens.issued) - before >= 3  # in the workers of start and fail, in the triggerer
    sent = {e["headers"].get("authorization") for e in emulator.journal() if f"secrets/{kind}/" in e["path"]}
    assert sent == {f"Bearer {token}" for token in tokens.issued[before:]}
    secrets = [*tokens.issued, CLIENT[1], *tokens.service_account()["private_key"].splitlines()[1:-1]]
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(path.name == "airflow.db" for path in files)
    assert any("task_id=wait" in str(path) for path in files)
    found = [
        (path.relative_to(airflow.home), secret)
        for path in files
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
