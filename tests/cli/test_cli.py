"""The commands against a real socket: what they print where, and the code they end with."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time as real_time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are another package

from airflow_provider_operations.__main__ import main
from airflow_provider_operations.cli.output import Output
from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.provider_info import get_provider_info
from tests.support.endless import dripping
from tests.support.raw_requests import start
from tests.support.raw_server import RawServer

from .conftest import SECRET

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.support.clocks import MovedClock
    from tests.support.commands import Ended

    Run = Callable[..., Ended]

ROOT = Path(__file__).parents[2]
NAME = "operations/o"
HOSTILE = "\x1b]0;owned\x07\r\x9b31m[bold]x[/bold]\u202e\x7f"
ERROR = {
    "code": 8,
    "message": f"quota used up {HOSTILE}",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "QUOTA",
            "domain": "x.example.com",
            "metadata": {"limit": "4"},
        }
    ],
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def rows(table: str) -> dict[str, str]:
    """The first line of each row of a table without a header."""
    pairs = (line.partition(" | ") for line in table.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}


def parsed(ended: Ended, form: str) -> Any:
    """Stdout as data: with a form for scripts it is that and nothing else."""
    return json.loads(ended.stdout) if form == "json" else yaml.safe_load(ended.stdout)


# --- get -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_get_for_scripts(run: Run, emulator: Emulator, form: str) -> None:
    """The resource as it is, types kept, also of one that failed; nothing on stderr, code 0."""
    start(emulator.url, name=NAME, duration=0, error=ERROR)
    ended = run("get", NAME, "-o", form)
    assert (ended.code, ended.stderr) == (0, "")
    assert parsed(ended, form) == emulator.operation(NAME)
    assert not CONTROL.search(ended.stdout)


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ({"duration": 5}, "running"),
        ({"duration": 0, "response": {"a": 1}}, "succeeded"),
        ({"duration": 0, "error": {"code": 1, "message": ""}}, "cancelled"),
        ({"duration": 0, "error": ERROR}, "failed with RESOURCE_EXHAUSTED (8)"),
    ],
)
def test_get_for_people(run: Run, emulator: Emulator, script: dict[str, Any], state: str) -> None:
    """Name and state first; an operation that failed has been got all the same, so the code is 0."""
    start(emulator.url, name=NAME, **script)
    ended = run("get", NAME)
    assert (ended.code, ended.stderr) == (0, "")
    shown = rows(ended.stdout)
    assert list(shown)[:2] == ["name", "state"]
    assert (shown["name"], shown["state"]) == (NAME, state)


def test_get_shows_progress_and_error(run: Run, emulator: Emulator) -> None:
    """A running operation's progress, a failed one's error with its details."""
    start(emulator.url, name=NAME, duration=5, metadata={"progressPercent": 42, "statusMessage": "copying"})
    assert rows(run("get", NAME).stdout)["progress"] == "42 %, copying"
    start(emulator.url, name="operations/bad", duration=0, error=ERROR)
    table = run("get", "operations/bad").stdout
    assert rows(table)["error"].startswith("RESOURCE_EXHAUSTED (8): quota used up \\x1b]0;owned\\x07")
    assert "|   ErrorInfo: QUOTA (x.example.com)" in table


def test_get_plain(run: Run, emulator: Emulator) -> None:
    """Without lines of a table, and a line for each field: for cut, grep and awk."""
    start(emulator.url, name=NAME, duration=5, metadata={"progressPercent": 42, "statusMessage": "a  b\nc"})
    lines = run("get", NAME, "-o", "plain").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:3]] == [
        ["name", NAME],
        ["state", "running"],
        ["progress", "42 %, a  b c"],
    ]
    (metadata,) = lines[3:]
    assert metadata.startswith("metadata  {")
    assert json.loads(metadata.partition(" ")[2])["statusMessage"] == "a  b\nc"
    start(emulator.url, name="operations/bad", duration=0, error=ERROR)
    *_, error = run("get", "operations/bad", "-o", "plain").stdout.splitlines()
    assert error.startswith("error     RESOURCE_EXHAUSTED (8): quota used up")
    assert "ErrorInfo: QUOTA (x.example.com)" in error


# --- list ------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(emulator: Emulator) -> Emulator:
    """An emulator with an operation that runs and two that are over, under a parent."""
    scripts: dict[str, dict[str, Any]] = {
        "a": {"duration": 9, "metadata": {"progressPercent": 7}},
        "b": {"duration": 0},
        "c": {"duration": 0, "error": ERROR},
    }
    for name, script in scripts.items():
        start(emulator.url, name=f"projects/p/operations/{name}", **script)
    return emulator


def test_list_for_people(run: Run, three: Emulator) -> None:
    """A line for each: name, state, progress; each whole on its line where stdout is no terminal."""
    ended = run("list", "projects/p")
    assert (ended.code, ended.stderr) == (0, "")
    assert [[cell.strip() for cell in line.split(" | ")] for line in ended.stdout.splitlines()] == [
        ["name", "state", "progress"],
        [ended.stdout.splitlines()[1]],
        ["projects/p/operations/a", "running", "7 %, run"],
        ["projects/p/operations/b", "succeeded", ""],
        ["projects/p/operations/c", "failed with RESOURCE_EXHAUSTED (8)", ""],
    ]


def test_list_plain(run: Run, three: Emulator) -> None:
    """As Airflow's own ``-o plain``: a heading, then a line for each."""
    lines = run("list", "projects/p", "-o", "plain").stdout.splitlines()
    assert [re.split(r" {2,}", line.strip()) for line in lines] == [
        ["name", "state", "progress"],
        ["projects/p/operations/a", "running", "7 %, run"],
        ["projects/p/operations/b", "succeeded"],
        ["projects/p/operations/c", "failed with RESOURCE_EXHAUSTED (8)"],
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_list_for_scripts(run: Run, three: Emulator, form: str) -> None:
    """A list of the resources as they are."""
    ended = run("list", "projects/p", "-o", form)
    assert (ended.code, ended.stderr) == (0, "")
    assert parsed(ended, form) == three.operations()


def test_list_asks_as_told(run: Run, three: Emulator) -> None:
    """Filter and page size are sent; no page is asked for beyond the limit."""
    ended = run(
        "list", "projects/p", "--filter", "done=true", "--page-size", "1", "--limit", "1", "-o", "json"
    )
    assert [operation["name"] for operation in ended.data] == ["projects/p/operations/b"]
    assert [entry["query"] for entry in three.journal("list")] == [{"filter": "done=true", "pageSize": "1"}]


@pytest.mark.parametrize(
    ("form", "stdout"),
    [
        ("table", "No operations found\n"),
        ("plain", "No operations found\n"),
        ("json", "[]\n"),
        ("yaml", "[]\n"),
    ],
)
def test_list_of_nothing(run: Run, emulator: Emulator, form: str, stdout: str) -> None:
    """Without a parent all are listed; none is no error."""
    ended = run("list", "-o", form)
    assert (ended.code, ended.stdout, ended.stderr) == (0, stdout, "")
    assert [entry["path"] for entry in emulator.journal("list")] == ["/v1/operations"]


def test_list_that_breaks_off_prints_nothing(run: Run, three: Emulator) -> None:
    """A page that doesn't come leaves stdout empty, so that no script takes a part for the whole."""
    three.script_fault(kind="list", after=1, status=403)
    ended = run("list", "projects/p", "--page-size", "1", "-o", "json")
    assert (ended.code, ended.stdout) == (3, "")


# --- help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["get", "list", "wait", "cancel", "delete"])
def test_help_is_as_of_airflows_own_commands(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Every option says what happens without it, and the forms are those of Airflow's commands."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    options = re.findall(r" (--[a-z-]+)(?: [A-Z_]+)? ([A-Z].*?)(?= -|$)", text.partition("option")[2])
    explained = {option: said for option, said in options if option not in {"--help", "--wait"}}
    assert {"--conn-id", "--base-url", "--path-prefix"} <= explained.keys()
    assert [option for option, said in explained.items() if "(default: " not in said] == []
    assert "Output format. Allowed values: json, yaml, plain, table (default: table)" in text


def test_defaults_in_the_help_are_those_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds without a decimal point that nobody types, and no ``None``."""
    with pytest.raises(SystemExit):
        main(["cancel", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "How long to wait for the end (default: 600)" in text
    assert "begin at half a second (default: 10)" in text
    with pytest.raises(SystemExit):
        main(["wait", "--help"])
    assert "(default: for ever)" in " ".join(capsys.readouterr().out.split())


# --- wait ------------------------------------------------------------------------------------------------------

STEPS = [
    {"at": 2, "metadata": {"progressPercent": 10, "statusMessage": "copying"}},
    {"at": 10, "metadata": {"progressPercent": 60, "statusMessage": HOSTILE}},
]


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_wait_for_success(run: Run, emulator: Emulator, form: str) -> None:
    """Code 0 and the operation on stdout; without a terminal the news are lines on stderr, no bar."""
    start(emulator.url, name=NAME, duration=20, steps=STEPS, response={"a": 1})
    ended = run("wait", NAME, "-o", form)
    assert ended.code == 0
    if form == "table":
        assert rows(ended.stdout)["state"] == "succeeded"
    else:
        assert parsed(ended, form) == emulator.operation(NAME)
    lines = ended.stderr.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"{NAME}: run",
        f"{NAME}: 10 %, copying",
        f"{NAME}: 60 %, \\x1b]0;owned\\x07 \\x9b31m[bold]x[/bold]\\x202e\\x7f",
    ]
    assert not CONTROL.search(ended.stdout + ended.stderr)


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_wait_for_failure(run: Run, emulator: Emulator, form: str) -> None:
    """Code 1; the error with its details on stderr, the operation on stdout for scripts alone."""
    start(emulator.url, name=NAME, duration=0, error=ERROR)
    ended = run("wait", NAME, "-o", form)
    assert ended.code == 1
    assert (ended.stdout == "") if form == "table" else (parsed(ended, form) == emulator.operation(NAME))
    first, second, *details = ended.stderr.splitlines()
    assert first.startswith("Operation ended with RESOURCE_EXHAUSTED (8): quota used up \\x1b]0;owned\\x07")
    assert second == f"  operation: {NAME}"
    assert details == ["  ErrorInfo: QUOTA (x.example.com)", "    limit: 4"]
    assert not CONTROL.search(ended.stdout + ended.stderr)


@pytest.mark.parametrize("form", ["table", "json"])
def test_wait_times_out(run: Run, emulator: Emulator, moved: MovedClock, form: str) -> None:
    """Code 4, after the time given and no sooner; nothing on stdout, and the operation isn't cancelled."""
    start(emulator.url, name=NAME, duration=600)
    before = moved.now
    ended = run("wait", NAME, "--timeout", "90", "-o", form)
    assert (ended.code, ended.stdout, moved.now - before) == (4, "", 90)
    assert ended.stderr.splitlines()[-1] == (
        f"Operation {NAME} was not over after 0:01:30; last seen: run; it goes on"
    )
    assert emulator.journal("cancel") == []


def test_poke_interval(run: Run, emulator: Emulator, moved: MovedClock) -> None:
    """No pause is longer than told."""
    start(emulator.url, name=NAME, duration=120)
    assert run("wait", NAME, "--poke-interval", "4").code == 0
    assert 3.6 < max(moved.sleeps) <= 4


def test_wait_bears_an_outage_once_it_has_begun(run: Run, emulator: Emulator) -> None:
    """The server may fail for minutes in between; that and its end are said on stderr."""
    start(emulator.url, name=NAME, duration=300)
    emulator.script_fault(kind="get", after=1, times=8, status=503)
    ended = run("wait", NAME, "-o", "json")
    assert (ended.code, ended.data["done"]) == (0, True)
    assert f"{NAME}: no answer (HTTP 503); bearing it for up to 600 s" in ended.stderr
    assert f"{NAME}: the server answers again" in ended.stderr


def test_wait_gives_up_on_a_long_outage(run: Run, emulator: Emulator) -> None:
    """Ten minutes without an answer are code 3."""
    start(emulator.url, name=NAME, duration=3600)
    emulator.script_fault(kind="get", after=1, status=503)
    ended = run("wait", NAME, "-o", "json")
    assert (ended.code, ended.stdout) == (3, "")


# --- cancel, delete --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ({"duration": 60}, None),
        ({"duration": 60, "cancelDelay": 0}, "cancelled"),
        ({"duration": 0}, "succeeded"),
        ({"duration": 0, "error": {"code": 13, "message": "x"}}, "failed with INTERNAL (13)"),
    ],
    ids=["still running", "cancelled", "had succeeded", "had failed"],
)
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_cancel(run: Run, emulator: Emulator, form: str, script: dict[str, Any], ended: str | None) -> None:
    """Asks, and says how it ended if it is over by then; however it ended, that is no error."""
    start(emulator.url, name=NAME, **script)
    got = run("cancel", NAME, "-o", form)
    assert (got.code, got.stderr) == (0, "")
    if form == "table":
        assert rows(got.stdout) == {"name": NAME, "ended": ended or "not yet; asked to cancel"}
    else:
        assert parsed(got, form) == {"name": NAME, "ended": ended}
    assert len(emulator.journal("cancel")) == 1


def test_cancel_of_one_that_is_over_and_refuses(run: Run, emulator: Emulator) -> None:
    """A server that refuses as there is nothing left to cancel is no error."""
    start(emulator.url, name=NAME, duration=0)
    emulator.script_fault(kind="cancel", status=400)
    ended = run("cancel", NAME, "-o", "json")
    assert (ended.code, ended.data) == (0, {"name": NAME, "ended": "succeeded"})


def test_cancel_waits_if_told(run: Run, emulator: Emulator) -> None:
    """With ``--wait`` the end is there."""
    start(emulator.url, name=NAME, duration=60, cancelDelay=20)
    ended = run("cancel", NAME, "--wait", "-o", "json")
    assert (ended.code, ended.data) == (0, {"name": NAME, "ended": "cancelled"})


def test_cancel_waits_so_long(run: Run, emulator: Emulator) -> None:
    """Ten minutes, unless told otherwise, for a server that accepts a cancel and ignores it: code 4."""
    start(emulator.url, name=NAME, duration=6000, onCancel="ignore")
    ended = run("cancel", NAME, "--wait", "-o", "json")
    assert (ended.code, ended.stdout) == (4, "")
    assert ended.stderr.splitlines()[-1].startswith(f"Operation {NAME} was not over after 0:10:00")
    assert ended.stderr.splitlines()[-1].endswith("; it has been asked to cancel")


def test_cancel_that_the_service_lacks(run: Run, emulator: Emulator) -> None:
    """A running operation of a service that can't cancel: code 3, and the server's words."""
    start(emulator.url, name=NAME, duration=60, onCancel="unimplemented")
    ended = run("cancel", NAME)
    assert (ended.code, ended.stdout) == (3, "")
    assert "HTTP 501: UNIMPLEMENTED (12)" in ended.stderr


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_delete(run: Run, emulator: Emulator, form: str) -> None:
    """The service forgets the operation."""
    start(emulator.url, name=NAME, duration=0)
    ended = run("delete", NAME, "-o", form)
    assert (ended.code, ended.stderr) == (0, "")
    if form == "table":
        assert rows(ended.stdout) == {"name": NAME, "deleted": "True"}
    else:
        assert parsed(ended, form) == {"name": NAME, "deleted": True}
    with pytest.raises(LookupError):
        emulator.operation(NAME)


# --- what goes wrong -------------------------------------------------------------------------------------------

COMMANDS = ("get", "wait", "cancel", "delete")


@pytest.mark.parametrize("command", [*COMMANDS, "list"])
@pytest.mark.parametrize(
    "name", ["../x", "a/../../b", "https://x/y", "/abs", "a?b=c", "a\x1b[2Jb", "None", "\udcff"]
)
def test_bad_names(run: Run, emulator: Emulator, command: str, name: str) -> None:
    """A name that must not be in a URL is wrong usage: code 2, nothing sent, nothing steers the terminal."""
    ended = run(command, name, "-o", "json")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("the ")
    assert not CONTROL.search(ended.stderr)
    assert emulator.journal() == []


@pytest.mark.parametrize("command", [*COMMANDS, "list"])
def test_refused(run: Run, emulator: Emulator, command: str) -> None:
    """A refusal is code 3, with what the server said on stderr, neutralised."""
    emulator.script_fault(status=403, body={"error": {**ERROR, "code": 403, "status": "PERMISSION_DENIED"}})
    ended = run(command, NAME, "-o", "json")
    assert (ended.code, ended.stdout) == (3, "")
    assert "HTTP 403: PERMISSION_DENIED (7): quota used up \\x1b]0;owned" in ended.stderr
    assert "ErrorInfo: QUOTA (x.example.com)" in ended.stderr
    assert not CONTROL.search(ended.stderr)


@pytest.mark.parametrize("command", [*COMMANDS, "list"])
def test_unreachable(run: Run, connect: Callable[..., None], moved: MovedClock, command: str) -> None:
    """No answer is code 3 after three attempts, for ``wait`` too, which bears only later outages."""
    connect("http://127.0.0.1:1")
    before = moved.now
    ended = run(command, NAME, "-o", "json")
    assert (ended.code, ended.stdout) == (3, "")
    assert "(attempt 3)" in ended.stderr
    assert moved.now - before < 10


@pytest.mark.parametrize("status", [200, 404, 501])
def test_a_service_that_answers(run: Run, emulator: Emulator, status: int) -> None:
    """Whether it has a list or not, it is there; the connection's host is said."""
    if status != 200:
        emulator.script_fault(kind="list", status=status)
    ended = run("test", "-o", "json")
    assert ended.code == 0
    said = json.loads(ended.stdout)["answer"]
    assert said.startswith(
        f"{emulator.url} {'lists operations' if status == 200 else 'answers, but lists no'}"
    )


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_service_that_refuses(run: Run, emulator: Emulator, status: int) -> None:
    """It is there, but of no use with this connection: code 3, with what it said."""
    emulator.script_fault(kind="list", status=status)
    ended = run("test")
    assert (ended.code, ended.stdout) == (3, "")
    assert f"HTTP {status}" in ended.stderr


def test_no_such_connection(run: Run, emulator: Emulator) -> None:
    """A connection that isn't there is wrong usage."""
    ended = run("get", NAME, "--conn-id", "nope")
    assert (ended.code, ended.stdout) == (2, "")
    assert "nope" in ended.stderr


@pytest.mark.parametrize(
    ("fields", "options", "says"),
    [
        ({"extra": {"timeout": -1}}, (), "'timeout' is seconds above 0"),
        ({}, ("--base-url", "https://elsewhere.example.com"), "allowed_hosts"),
        ({}, ("--base-url", "ftp://x"), "base_url"),
        ({}, ("--path-prefix", "../v1"), "'path_prefix' is path segments"),
    ],
)
def test_bad_connection(
    run: Run,
    emulator: Emulator,
    connect: Callable[..., None],
    fields: dict[str, Any],
    options: tuple[str, ...],
    says: str,
) -> None:
    """A connection that no request can be made with is wrong usage; credentials go nowhere."""
    connect(emulator.url, **fields)
    ended = run("get", NAME, *options)
    assert (ended.code, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("get",),
        ("wait", NAME, "--timeout", "-1"),
        ("wait", NAME, "--timeout", "nan"),
        ("wait", NAME, "--poke-interval", "0.5"),
        ("list", "--limit", "0"),
        ("get", NAME, "-o", "xml"),
    ],
)
def test_usage(run: Run, argv: tuple[str, ...]) -> None:
    """Wrong arguments are code 2, and stdout stays empty."""
    ended = run(*argv)
    assert (ended.code, ended.stdout) == (2, "")
    assert "usage: python -m airflow_provider_operations" in ended.stderr


def test_numbers_that_json_has_not(run: Run, emulator: Emulator) -> None:
    """NaN and infinities are text in what is printed as JSON, which strict readers take."""
    body = f'{{"name": "{NAME}", "metadata": {{"loss": [NaN, -Infinity]}}}}'
    emulator.script_fault(kind="get", status=200, body=body)
    ended = run("get", NAME, "-o", "json")
    assert ended.data == {"name": NAME, "done": False, "metadata": {"loss": ["NaN", "-Infinity"]}}


def test_service_options(run: Run, emulator: Emulator, connect: Callable[..., None]) -> None:
    """Base URL and prefix are taken instead of the connection's."""
    connect("https://elsewhere.example.com", extra={"allowed_hosts": "127.0.0.1"})
    start(emulator.url, name=NAME, duration=0)
    assert run("get", NAME, "--base-url", emulator.url, "--path-prefix", "v1/admin").code == 0
    assert [entry["path"] for entry in emulator.journal("get")] == [f"/v1/admin/{NAME}"]


def test_a_bug_is_not_a_failed_operation(
    run: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw ends with 70 and its traceback on stderr."""
    monkeypatch.setattr(Output, "operation", lambda *_: 1 / 0)
    start(emulator.url, name=NAME, duration=0)
    ended = run("get", NAME, "-o", "json")
    assert (ended.code, ended.stdout) == (70, "")
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


# --- what is printed -------------------------------------------------------------------------------------------


def answering(body: object, status: str = "200 OK") -> Callable[[socket.socket], object]:
    """Answer every request with this JSON."""
    payload = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
    return lambda connection: connection.sendall(head + payload)


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
@pytest.mark.parametrize("command", ["get", "list"])
def test_hostile_resource(
    run: Run, connect: Callable[..., None], moved: MovedClock, command: str, form: str
) -> None:
    """Whatever stands where in an answer: no control character, no forged line, no markup gets to the terminal."""
    resource = {
        "name": f"{HOSTILE}\nforged",
        "done": False,
        f"key{HOSTILE}": HOSTILE,
        "metadata": {
            "statusMessage": f"{HOSTILE}\nforged [link=http://x]y[/link] \ud800",
            HOSTILE: [HOSTILE],
        },
    }
    with RawServer(answering({"operations": [resource]} if command == "list" else resource)) as server:
        connect(server.url)
        ended = run(command, NAME, "-o", form)
    assert (ended.code, ended.stderr) == (0, "")
    assert not CONTROL.search(ended.stdout)
    assert not any(line.startswith("forged") for line in ended.stdout.splitlines())
    if form == "json":
        assert ended.data == ([resource] if command == "list" else resource)
    if form == "table":
        assert "[bold]x[/bold]" in ended.stdout
        assert "[link=http://x]y[/link]" in ended.stdout


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_secrets(run: Run, connect: Callable[..., None], moved: MovedClock, form: str, status: str) -> None:
    """A server that repeats our token, in an operation or in an error, doesn't get it printed."""
    said = {"name": NAME, "done": True, "error": {"code": 7, "message": f"not with {SECRET}"}}
    with RawServer(answering(said, status)) as server:
        connect(server.url)
        ended = run("wait", NAME, "-o", form)
        assert SECRET in dict(server.seen[0].headers)["authorization"]
    assert ended.code == (1 if status == "200 OK" else 3)
    assert SECRET not in ended.stdout + ended.stderr
    assert "not with ***" in ended.stderr


def test_plain_words_are_no_secrets(run: Run, emulator: Emulator) -> None:
    """What a service calls a token or password in its response is the user's result and stays."""
    start(emulator.url, name=NAME, duration=0, response={"token": "abc-12345", "password": "abc-12345"})
    response = run("get", NAME, "-o", "json").data["response"]
    assert (response["token"], response["password"]) == ("abc-12345", "abc-12345")


# --- as processes ----------------------------------------------------------------------------------------------


def environment(home: Path, url: str) -> dict[str, str]:
    """An Airflow home of its own, the connection in a variable."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW"))}
    return {
        **clean,
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_OPS": json.dumps({"conn_type": "operations", "host": url, "extra": {"unknown": 1}}),
        "COLUMNS": "120",
        "TERM": "xterm",
    }


def provided() -> bool:
    """Tell whether this Airflow asks providers for commands."""
    from airflow.providers_manager import ProvidersManager

    return hasattr(ProvidersManager, "cli_command_functions")


AIRFLOW = pytest.param(
    ("airflow", "operations"),
    marks=pytest.mark.skipif(not provided(), reason="this Airflow asks no provider for commands"),
)


@pytest.mark.parametrize("program", [AIRFLOW, ("airflow_provider_operations",)])
def test_stdout_holds_the_json_alone(tmp_path: Path, program: tuple[str, ...]) -> None:
    """As its own process: what Airflow logs, here a warning on the connection, goes to stderr."""
    with Emulator() as emulator:
        start(emulator.url, name=NAME, duration=0, error=ERROR)
        command = [sys.executable, "-m", *program, "wait", NAME, "--conn-id", "ops", "-o", "json"]
        ended = subprocess.run(
            command, env=environment(tmp_path, emulator.url), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 1, ended.stderr
        stdout = ended.stdout
        if program[0] == "airflow":  # on Python 3.14 each of Airflow's commands begins with lines of its log
            stdout = re.sub(r"^20\d\d-.*\n", "", stdout, flags=re.MULTILINE)
        assert json.loads(stdout) == emulator.operation(NAME)
    assert "unknown extras are ignored and not sent: unknown" in ended.stderr
    assert "Operation ended with RESOURCE_EXHAUSTED (8)" in ended.stderr


def test_interrupted_wait(tmp_path: Path) -> None:
    """Ctrl-C ends the waiting with 130 and says that the operation goes on; on a terminal there was a bar."""
    progress = {"progressPercent": 42, "statusMessage": f"copying {'x' * 300}"}
    with Emulator() as emulator:
        start(emulator.url, name=NAME, duration=600, metadata=progress)
        terminal, end = pty.openpty()
        command = [sys.executable, "-m", "airflow_provider_operations", "wait", NAME, "--conn-id", "ops"]
        # Where the tests run in the background SIGINT is ignored, which a child would inherit.
        with subprocess.Popen(
            command,
            env=environment(tmp_path, emulator.url),
            stdin=end,
            stdout=end,
            stderr=end,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  it only sets a signal
        ) as process:
            os.close(end)
            seen, told = "", False
            deadline = real_time.monotonic() + 120
            while real_time.monotonic() < deadline:
                if select.select([terminal], [], [], 1)[0]:
                    try:
                        seen += os.read(terminal, 65536).decode(errors="replace")
                    except OSError:  # the process has ended
                        break
                if "copying" in seen and not told:
                    told = True
                    process.send_signal(signal.SIGINT)
            try:
                assert process.wait(30) == 130, seen
            finally:
                process.kill()
        os.close(terminal)
        assert emulator.journal("cancel") == []
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert f"Waiting for {NAME}" in plain
    assert re.search(r"\r━+[╺╸]?━+ +42% 0:00:\d\d copying x+…", plain), plain
    assert f"No longer waiting. Operation {NAME} goes on." in plain
    assert "Traceback" not in plain


def test_reader_that_leaves(tmp_path: Path) -> None:
    """``| head`` ends a list without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    with Emulator() as emulator:
        command = [sys.executable, "-m", "airflow_provider_operations", "list", "--conn-id", "ops"]
        ended = subprocess.run(
            command,
            env=environment(tmp_path, emulator.url),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    os.close(writer)
    assert ended.returncode == 141
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


IMPORTED = """
import sys
import airflow.cli.cli_config, airflow_provider_operations
before = set(sys.modules)
from airflow_provider_operations.cli.definition import get_operations_cli_commands
(group,) = get_operations_cli_commands()
print(group.name, *(command.name for command in group.subcommands))
print(*sorted(set(sys.modules) - before))
"""


def test_airflow_stays_quick(tmp_path: Path) -> None:
    """What every ``airflow`` command loads of this is the definition, and nothing else."""
    (function,) = get_provider_info()["cli"]
    assert function == "airflow_provider_operations.cli.definition.get_operations_cli_commands"
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env=environment(tmp_path, ""),
        capture_output=True,
        text=True,
        check=True,
    )
    commands, modules = result.stdout.strip().splitlines()[-2:]
    assert commands == "operations test methods start get list wait cancel reap delete"
    assert modules.split() == [
        "airflow_provider_operations.cli",
        "airflow_provider_operations.cli.definition",
    ]


def test_no_bar_with_stderr_elsewhere() -> None:
    """A bar needs a terminal on both sides; else the news are lines."""
    notes = io.StringIO()
    with Output("table", io.StringIO(), notes).progress(NAME) as show:
        assert show.__name__ == "_note_news"
    assert notes.getvalue() == ""


def test_a_server_that_never_comes_to_an_end(run: Run, connect: Callable[..., None]) -> None:
    """A command ends although the answer doesn't, and says why."""
    with dripping("trailers") as server:
        connect(server.url, extra={"timeout": 0.3})
        ended = run("get", NAME)
    assert ended.code != 0
    assert "the answer was not complete in time" in ended.stderr


@pytest.mark.slow
def test_what_airflow_says_at_its_start_is_not_on_stdout(tmp_path: Path) -> None:
    """Of metrics that can't be sent, or of where they are, it says something on stdout while it is imported."""
    (tmp_path / "statsd.py").write_text("raise ImportError('there is none')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "airflow_provider_operations", "methods", "file", "-o", "json"],
        env={**os.environ, "AIRFLOW__METRICS__STATSD_ON": "True", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout)
