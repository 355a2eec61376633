"""What the figures are made with: processes that are started, watched and ended, and rows of the table."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tooling.bench.spec import Measured, Spec

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Bench", "NotMeasured", "Row"]

ROOT = Path(__file__).parents[3]
LIMIT_S = 420.0
NOT_INHERITED = ("AIRFLOW_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What must not make a difference; a CA bundle is read for every connection, be it used or not."""


class NotMeasured(Exception):
    """A figure could not be measured; the text says why."""


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    :param met: ``None``: nothing to judge, or not measured.
    :param why: why it wasn't measured.
    :param figures: numbers, by name.
    :param profile: where it goes; for what missed its target.
    """

    figure: str
    target: str
    ours: str = ""
    floor: str = ""
    peers: str = ""
    met: bool | None = None
    why: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    profile: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """A word."""
        if self.why:
            return "not measured"
        return {True: "met", False: "MISSED", None: ""}[self.met]


class Bench:
    """
    Starts processes and keeps nothing of them.

    :param short: fewer operations and shorter looks.
    :param profile: show where time and memory go of what missed its target.
    """

    def __init__(self, *, short: bool, profile: bool) -> None:
        self.short = short
        self.profile = profile
        self._began = time.monotonic()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Bench:
        """Make a folder for results and for Airflow's home, and compile the package, as pip does at its installation."""
        compileall.compile_dir(ROOT / "airflow_provider_operations", quiet=1)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what still runs, and remove the folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Kill what still runs; nothing can be started any more."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()
            process.wait()

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", flush=True)

    def either(self, full: Any, short: Any) -> Any:
        """Return what is meant for this run."""
        return short if self.short else full

    def measure(self, spec: Spec) -> Measured:
        """
        Measure one candidate.

        :raises NotMeasured: it failed, or its waits did.
        """
        answer = self.run(
            "tests.tooling.bench.measured", spec.to_json(), connection_to=spec.url, of=spec.candidate
        )
        measured = Measured(**answer)
        if measured.errors:
            said = "; ".join(f"{text} ({count} times)" for text, count in measured.errors.items())
            raise NotMeasured(f"{spec.candidate}: {said}")
        if spec.window_s and spec.counted and not measured.polls:
            raise NotMeasured(f"{spec.candidate}: it never polled")
        return measured

    def side_by_side(self, specs: list[Spec]) -> list[Measured | NotMeasured]:
        """Measure several at once, so that what else the machine does is the same for all of them."""

        def measured(spec: Spec) -> Measured | NotMeasured:
            try:
                return self.measure(spec)
            except NotMeasured as error:
                return error

        with ThreadPoolExecutor(len(specs)) as pool:
            try:
                return list(pool.map(measured, specs))
            except BaseException:
                self.close()  # or the pool would wait for them
                raise

    def run(self, module: str, *arguments: str, connection_to: str = "", of: str = "ours") -> dict[str, Any]:
        """
        Run a module of ours, and return the JSON that it writes into the file named last.

        :param connection_to: what the connection ``bench`` points to.
        :raises NotMeasured: it failed; with the end of what it said.
        """
        home = Path(tempfile.mkdtemp(dir=self.folder))
        result, said = home / "result.json", home / "said.txt"
        kind = "operations" if of == "ours" else "http"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(NOT_INHERITED)},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": kind, "host": connection_to}),
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        with said.open("wb") as output:
            with self._lock:
                if self._closed:
                    raise NotMeasured("the bench was ended")
                # What triggers log is written, but to nowhere; errors of the process itself are kept.
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments, str(result)],
                    env=environment,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                )
                self._running.add(process)
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise NotMeasured(f"not within {LIMIT_S:g} s") from None
            finally:
                self._running.discard(process)
        if code or not result.exists():
            last = (said.read_text(errors="replace").strip().splitlines() or ["nothing said"])[-1]
            raise NotMeasured(f"the process ended with {code}: {last}"[:500])
        answer: dict[str, Any] = json.loads(result.read_text())
        shutil.rmtree(home, ignore_errors=True)
        return answer
