"""Methods of Google's by their ids in a real Airflow, with Google's own client reading the same operations beside us."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.google_apis.twenty import TWENTY, BesideUs
from tests.hooks.google_documents import OF_THE_CLIENT

from .test_airflow import finished, states

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow

GOOGLES = "x-goog-api-client"
"""A header that Google's client sends and we don't."""


def parts(uri: str) -> tuple[str, dict[str, str]]:
    """Return a URI's path as it is sent, and its query without what is the client's own."""
    split = urlsplit(uri)
    return split.path, {key: value for key, value in parse_qsl(split.query) if key not in OF_THE_CLIENT}


class Read:
    """The operations as Google's client has read them, each when it had just begun and when all were over."""

    def __init__(self, emulator: EmulatorProcess, clients: ExitStack) -> None:
        self._emulator = emulator
        self._seen = len(emulator.journal("start"))
        self._methods: dict[tuple[str, str], tuple[dict[str, Any], BesideUs]] = {}
        for case in TWENTY:
            client = clients.enter_context(BesideUs(case["document"], case["method"], emulator.url))
            request = client.start(case["parameters"], case["json"])
            self._methods[request.method, parts(request.uri)[0]] = case, client
        self.first: dict[str, dict[str, dict[str, Any]]] = {}
        """By document, and by name of the operation: another run has others."""

    def __call__(self) -> None:
        """Read what has begun since."""
        for start in self._emulator.journal("start")[self._seen :]:
            self._seen += 1
            case, client = self._methods[start["method"], start["path"]]
            name = start["operation"]
            asked = client.start(case["parameters"], case["json"])
            assert self._query(start) == parts(asked.uri)[1]
            assert {key: value for key, value in (start["body"] or {}).items() if key != "operation"} == (
                case["json"] or {}
            )
            self.first.setdefault(case["document"], {})[name] = self._read(client, name)

    def last(self, document: str, name: str) -> dict[str, Any]:
        """Read an operation again."""
        return next(
            self._read(client, name)
            for case, client in self._methods.values()
            if case["document"] == document
        )

    def paths(self, document: str, name: str) -> set[str]:
        """Return where the client reads an operation."""
        (found,) = (client for case, client in self._methods.values() if case["document"] == document)
        return {parts(get.uri)[0] for get in found.gets(name)}

    @staticmethod
    def _read(client: BesideUs, name: str) -> dict[str, Any]:
        read: dict[str, Any] = client.gets(name)[0].execute()
        return read

    @staticmethod
    def _query(start: dict[str, Any]) -> dict[str, str]:
        return {
            key: value for key, value in start["query"].items() if key not in {*OF_THE_CLIENT, "requestId"}
        }


def test_twenty_methods(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """
    Each start is the one that Google's client would make, each task polls where that client reads, and returns what
    it reads there.

    The client reads each operation while the task waits for it, too.
    """
    with ExitStack() as clients:
        read = Read(emulator, clients)
        run_id = finished(airflow, "e2e_methods", meanwhile=read)
        read()

        tasks = {case["document"].replace(":", "_"): case for case in TWENTY}
        assert states(airflow, "e2e_methods", run_id) == {task_id: {"success"} for task_id in tasks}
        ran = 0
        for task_id, case in tasks.items():
            name = airflow.xcom("e2e_methods", run_id, task_id, "operation_name")
            first, last = read.first[case["document"]][name], read.last(case["document"], name)
            assert first["name"] == last["name"] == name
            assert airflow.xcom("e2e_methods", run_id, task_id, "return_value") == last["response"]
            polled = {
                each["path"] for each in emulator.journal("get", name) if GOOGLES not in each["headers"]
            }
            assert len(polled) == 1
            assert polled <= read.paths(case["document"], name)
            ran += not first.get("done")
        assert ran > len(tasks) // 2
