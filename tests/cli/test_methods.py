"""``airflow operations methods`` and ``start``: Google's methods by their ids, from a terminal."""

from __future__ import annotations

import json
import os
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.google_apis.test_own import EXAMPLE, MAKE
from tests.support.raw_requests import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock
    from tests.support.commands import Ended

    Run = Callable[..., Ended]

CREATE = "redis.projects.locations.clusters.create"
PLACE = "projects/p/locations/europe-west1"
GIVEN = ("--param", f"parent={PLACE}", "--param", "clusterId=c", "--json", '{"shardCount": 3}')


def test_one_method_is_described(run: Run) -> None:
    """One that is found alone: its parameters, what its operations have, where it is documented."""
    ended = run("methods", "redis:v1.projects.locations.clusters.create")
    assert (ended.code, ended.stderr) == (0, "")
    rows = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(" | ") for line in ended.stdout.splitlines())
    }
    assert (rows["method"], rows["call"]) == (CREATE, "POST /v1/{+parent}/clusters")
    assert rows["parameters"] == "parent: required string, like projects/*/locations/*"
    assert "clusterId: optional string" in ended.stdout
    assert [rows[key] for key in ("request_id", "cancel", "list", "wait", "deprecated")] == [
        "query",
        "yes",
        "yes",
        "no",
        "no",
    ]
    assert rows["documentation"].startswith("https://cloud.google.com/")


def test_several_are_listed(run: Run) -> None:
    """All that have these words in them, those first that are written without a version; for scripts, with all facts."""
    lines = run("methods", "redis", "clusters", "CREATE", "-o", "plain").stdout.splitlines()
    assert lines[0].split("  ")[0] == "method"
    assert lines[1].split()[0] == CREATE
    assert any(line.startswith("redis:v1beta1.") for line in lines)
    data = run("methods", "redis", "clusters", "create", "-o", "json").data
    assert data[0]["method"] == CREATE
    assert data[0]["takes_json"] is True
    assert data[0]["request_id"] == "query"
    assert data[0]["parameters"]["parent"] == "required string, like projects/*/locations/*"


def test_a_whole_id_is_that_method(run: Run) -> None:
    """Also where others have it in theirs: of its version, or of the one that is meant without."""
    for whole in (CREATE, "redis:v1beta1.projects.locations.clusters.create"):
        (row,) = run("methods", whole, "-o", "json").data
        assert row["method"] == whole


@pytest.mark.parametrize(
    "unknown",
    [
        "compute.instances.insert",
        "batch.projects.locations.jobs.create",
        "redis.projects.locations.clusters.creat:",
    ],
)
def test_why_an_id_is_not_there(run: Run, unknown: str) -> None:
    """An id that can't be started is explained as the start explains it."""
    ended, refused = run("methods", unknown), run("start", unknown)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == refused.stderr


def test_none_is_found(run: Run) -> None:
    """That is no error."""
    ended = run("methods", "no-such-thing")
    assert (ended.code, ended.stdout) == (0, "No method's id has all of these words in it\n")


def test_start(run: Run, emulator: Emulator) -> None:
    """The operation is shown as it was started, with a request id where the service takes one."""
    ended = run("start", CREATE, *GIVEN, "-o", "json")
    assert (ended.code, ended.stderr) == (0, "")
    (entry,) = emulator.journal()
    assert (entry["method"], entry["path"]) == ("POST", f"/v1/{PLACE}/clusters")
    assert entry["query"].keys() == {"clusterId", "requestId"}
    assert entry["body"] == {"shardCount": 3}
    assert ended.data["name"] == emulator.operations()[0]["name"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"duration": 30, "response": {"a": 1}}, 0),
        ({"duration": 30, "error": {"code": 8, "message": "quota"}}, 1),
        ({"duration": 0, "response": {"a": 1}}, 0),
    ],
)
def test_start_and_wait(
    run: Run, emulator: Emulator, moved: MovedClock, script: dict[str, Any], code: int
) -> None:
    """It waits for the end, and its exit code is that of wait."""
    emulator.script_operation(**script)
    ended = run("start", CREATE, *GIVEN, "--wait", "-o", "json")
    assert ended.code == code
    assert ended.data["done"] is True


def test_body_that_can_be_read_once(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    """A body may come from a pipe, as of the shell's ``<(...)``."""
    os.mkfifo(pipe := tmp_path / "pipe")
    writer = Thread(target=pipe.write_text, args=('{"shardCount": 4}',), daemon=True)
    writer.start()
    ended = run("start", CREATE, *GIVEN[:4], "--json", f"@{pipe}")
    writer.join()
    assert (ended.code, ended.stderr) == (0, "")
    assert [one["body"]["shardCount"] for one in emulator.journal("start")] == [4]


def test_body_of_a_file(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    """After an @ it is read from a file; parameters that are given twice are repeated."""
    (tmp_path / "body.json").write_text(json.dumps({"labels": {"a": "ü"}}))
    name = f"name={PLACE}/volumes/v"
    ended = run(
        "start",
        "netapp.projects.locations.volumes.patch",
        *("--param", name, "--param", "updateMask=labels", "--param", "updateMask=description"),
        *("--json", f"@{tmp_path}/body.json"),
    )
    assert ended.code == 0
    (entry,) = emulator.journal()
    assert (entry["method"], entry["body"]) == ("PATCH", {"labels": {"a": "ü"}})
    assert entry["query"]["updateMask"] == "labels,description"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        pytest.param(["redis.projects.locations.clusters.creat"], "did you mean redis", id="method"),
        pytest.param([CREATE], "needs the parameter 'parent'", id="missing"),
        pytest.param([CREATE, "--param", "parent"], "--param is NAME=VALUE, not 'parent'", id="no-pair"),
        pytest.param([CREATE, "--param", "parent=p"], "is like projects/*/locations/*", id="pattern"),
        pytest.param([CREATE, *GIVEN[:4], "--json", "{"], "--json is JSON, or @ and a file of it", id="json"),
        pytest.param([CREATE, *GIVEN[:4], "--json", "@/no/file"], "No such file", id="no-file"),
        pytest.param([CREATE, *GIVEN[:4], "--json", "[1]"], "is an object, and not list", id="list"),
        pytest.param([CREATE, *GIVEN[:4], "--json", '"a"'], "is an object, and not str", id="text"),
    ],
)
def test_wrong_usage(run: Run, emulator: Emulator, argv: list[str], says: str) -> None:
    """What isn't right is told before anything is sent, with the exit code of wrong usage."""
    ended = run("start", *argv)
    assert (ended.code, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert emulator.journal() == []


def test_a_document_of_ones_own(
    run: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is searched, started from and asked with instead of the package's; its path may be a relative one here."""
    (tmp_path / "example.json").write_text(json.dumps(EXAMPLE))
    monkeypatch.chdir(tmp_path)
    own = ("--api-document", "example.json")
    (listed,) = run("methods", "things", *own, "-o", "json").data
    assert (listed["method"], listed["cancel"]) == ("example:v3.projects.things.make", True)
    started = run("start", MAKE, "--param", "parent=projects/p", *own, "-o", "json").data
    assert run("get", started["name"], *own, "-o", "json").data["name"] == started["name"]
    assert [(each["method"], each["path"]) for each in emulator.journal()] == [
        ("POST", "/v3/projects/p/things:make"),
        ("GET", f"/v3/{started['name']}"),
    ]


def test_a_document_that_is_none(run: Run, tmp_path: Path) -> None:
    """That is wrong usage, and so is another API beside it."""
    (tmp_path / "example.json").write_text("{}")
    own = ("--api-document", str(tmp_path / "example.json"))
    for argv in (("methods", "x", *own), ("start", MAKE, *own), ("get", "operations/o", *own)):
        ended = run(*argv)
        assert (ended.code, "it lacks 'name'" in ended.stderr) == (2, True)
    both = run("get", "operations/o", "--api", "file", *own)
    assert (both.code, "exclude each other" in both.stderr) == (2, True)


def test_api_of_an_operation(run: Run, emulator: Emulator) -> None:
    """The other commands are told the API, and need no prefix."""
    start(emulator.url, name="76122", duration=5)
    ended = run("get", "76122", "--api", "speech", "-o", "json")
    assert (ended.code, ended.data["name"]) == (0, "76122")
    assert emulator.journal("get")[0]["path"] == "/v1/operations/76122"
    ended = run("get", "76122", "--api", "speach")
    assert (ended.code, "did you mean speech" in ended.stderr) == (2, True)
