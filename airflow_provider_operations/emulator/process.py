"""The emulator as a process of its own, for tests that kill it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from .client import EmulatorControls

_START_S = 30.0
_STOP_S = 10.0


class EmulatorProcess(EmulatorControls):
    """
    ``python -m airflow_provider_operations.emulator`` as a child process.

    :param state: an SQLite file; without one nothing outlives :meth:`kill`.
    :param port: 0 takes a free one, which :meth:`restart` keeps.
    """

    def __init__(self, state: str | Path | None = None, port: int = 0) -> None:
        super().__init__(f"http://127.0.0.1:{port}")
        self._state = state
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> EmulatorProcess:
        """Start it; return once it accepts connections."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """
        Start the child and wait for its line.

        :raises RuntimeError: it already runs, ended at once, or said nothing for 30 seconds.
        """
        if self._process is not None:
            raise RuntimeError("the emulator is already running")
        package = __package__ or ""
        command = [sys.executable, "-m", package, "--port", str(self._port), "--quiet"]
        if self._state is not None:
            command += ["--state", str(self._state)]
        root = str(Path(__file__).parents[package.count(".") + 1])  # the child finds the package where we did
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603  our own module, arguments from the test
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            self.url = self._announced_url(self._process.stdout)
        except BaseException:
            self.kill()
            raise
        self._port = urlsplit(self.url).port or 0

    def kill(self) -> None:
        """Kill the child with SIGKILL, as a crash would; without effect when it doesn't run."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def stop(self) -> int | None:
        """End the child with SIGTERM and return its exit code; ``None`` when it doesn't run."""
        if self._process is None:
            return None
        process = self._process
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        return self._reap(process)

    def restart(self) -> None:
        """Start again on the same port and state; a child that still runs is killed first."""
        self.kill()
        self.start()

    def _reap(self, process: subprocess.Popen[str]) -> int:
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return code

    @staticmethod
    def _announced_url(output: IO[str] | None) -> str:
        line = output.readline() if output and select.select([output], [], [], _START_S)[0] else ""
        _, listening, url = line.strip().partition(" listening on ")
        if not listening:
            raise RuntimeError(f"the emulator did not start: {line!r}")
        return url
