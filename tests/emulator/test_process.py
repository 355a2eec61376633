from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider_operations.emulator import EmulatorProcess
from tests.support.raw_requests import call, start

pytestmark = pytest.mark.slow

RUN = "/v1/projects/p/things:run"
UUID = "8a6c1f0e-3b1d-4c53-9d0e-0123456789ab"
MODULE = "airflow_provider_operations.emulator"
ROOT = Path(__file__).parents[2]


def test_state_survives_sigkill(tmp_path: Path) -> None:
    """Killed and restarted: what should have ended has ended, ids still deduplicate, the journal goes on."""
    with EmulatorProcess(tmp_path / "state.sqlite") as emulator:
        url, first_pid = emulator.url, emulator.pid
        body = {"operation": {"name": "operations/long", "duration": 600}}
        call(url, "POST", f"{RUN}?requestId={UUID}", body)
        start(url, name="operations/short", duration=0.3, response={"kept": True})
        start(url, name="operations/cancelled", duration=600, cancelDelay=0.3)
        call(url, "POST", "/v1/operations/cancelled:cancel")
        emulator.kill()
        with pytest.raises(ConnectionRefusedError):
            call(url, "GET", "/v1/operations/short")
        time.sleep(0.4)
        emulator.restart()
        assert (emulator.url, emulator.pid == first_pid) == (url, False)
        assert emulator.operation("operations/short")["response"] == {"kept": True}
        assert emulator.operation("operations/cancelled")["error"]["code"] == 1
        again = call(url, "POST", f"{RUN}?requestId={UUID}", body)
        assert (again.body["name"], again.body["done"]) == ("operations/long", False)
        assert [(entry["seq"], entry["kind"], entry["deduplicated"]) for entry in emulator.journal()] == [
            (1, "start", False),
            (2, "start", False),
            (3, "start", False),
            (4, "cancel", False),
            (5, "start", True),
        ]


@pytest.mark.parametrize("arguments", [[], ["--quiet"]], ids=["", "quiet"])
def test_requests_are_logged(arguments: list[str]) -> None:
    """A line on stderr for each request says what was asked, how it was understood and answered; never the query."""
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        name = call(url, "POST", f"{RUN}?requestId={UUID}", {}).body["name"]
        call(url, "POST", f"{RUN}?requestId={UUID}", {})
        call(url, "GET", f"/v1/{name}")
        call(url, "POST", "/emulator/faults", {"kind": "get", "status": 503})
        call(url, "GET", f"/v1/{name}")
        process.terminate()
        _, logged = process.communicate(timeout=20)
    lines = [line.partition(" ")[2] for line in logged.splitlines() if "/v1/" in line]
    assert lines == (
        []
        if arguments
        else [
            f"POST {RUN} 200 start {name}",
            f"POST {RUN} 200 start {name} the same request again",
            f"GET /v1/{name} 200 get {name}",
            f"GET /v1/{name} 503 get {name} fault-1",
        ]
    )


def test_kill_while_an_answer_is_delayed_keeps_its_effect(tmp_path: Path) -> None:
    """A server may die between accepting and answering: the operation exists, no answer was sent."""
    with EmulatorProcess(tmp_path / "state.sqlite") as emulator:
        emulator.script_fault(kind="start", delay=60)
        with subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, urllib.request as r; r.urlopen(sys.argv[1], b'{}')",
                emulator.url + RUN,
            ],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "no_proxy": "*"},
        ) as client:
            while not emulator.operations():
                time.sleep(0.02)
            emulator.restart()
            assert client.wait(20) == 1
        (operation,) = emulator.operations()
        (entry,) = emulator.journal()
        assert (entry["operation"], entry["status"]) == (operation["name"], None)


def test_without_a_file_nothing_survives() -> None:
    """State in memory dies with the process; the port stays the same."""
    with EmulatorProcess() as emulator:
        url = emulator.url
        start(url)
        emulator.restart()
        assert (emulator.url, emulator.operations(), emulator.journal()) == (url, [], [])
        assert emulator.stop() == 0
        assert emulator.pid is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_says_where_it_listens_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """One line once it accepts connections, the port in a file, exit code 0 on a signal, quiet if asked to be."""
    port_file = tmp_path / "port"
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, "--quiet", "--port-file", str(port_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = port_file.read_text().strip()
        assert line == f"operations emulator listening on http://127.0.0.1:{port}\n"
        assert call(f"http://127.0.0.1:{port}", "GET", "/healthz").status == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert list(tmp_path.iterdir()) == [port_file]


@pytest.mark.parametrize("host", ["0.0.0.0", "example.invalid"])
def test_command_refuses_other_interfaces(host: str) -> None:
    """The journal holds tokens, so only loopback is served unless somebody insists."""
    process = subprocess.run(
        [sys.executable, "-m", MODULE, "--host", host], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert process.returncode == 2
    assert "--allow-remote" in process.stderr


def test_command_reports_a_taken_port() -> None:
    """A port in use is one line on stderr and exit code 1, no traceback."""
    with EmulatorProcess() as emulator:
        port = emulator.url.rpartition(":")[2]
        process = subprocess.run(
            [sys.executable, "-m", MODULE, "--port", port],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("operations emulator: ")
    assert process.stderr.count("\n") == 1


def test_emulator_imports_neither_airflow_nor_its_peer() -> None:
    """The emulator shares no code with the client that it judges."""
    code = f"""
import sys, {MODULE}, {MODULE}.__main__
package = "{MODULE.partition(".")[0]}"
print([name for name in sys.modules if name.partition(".")[0] in ("airflow", "google", package)])
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    foreign = [
        name for name in eval(found) if name != MODULE.partition(".")[0] and not name.startswith(MODULE)
    ]
    assert foreign == []
