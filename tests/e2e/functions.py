"""Google's Cloud Functions emulator (npm package ``@google-cloud/functions-emulator``) as a server of operations."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import requests

from tests.tooling.harness.standalone import free_ports

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FunctionsEmulator"]

_INSTALLED = Path(__file__).parents[2] / ".functions-emulator"
"""Where ``make functions-emulator`` puts it."""
_PROGRAM = _INSTALLED / "node_modules/@google-cloud/functions-emulator/bin/emulator"

_START_TIMEOUT_S = 60.0

_SOURCES = {
    "good": "exports.main = (request, response) => response.send('deployed');",
    # The code is loaded while it is deployed, so its operation goes on as long.
    "slow": """\
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 15_000);
exports.main = (request, response) => response.send('deployed');
""",
    "broken": "throw new Error('the bucket of receipts is missing');",
}


class FunctionsEmulator:
    """
    Run the emulator on free ports with a home of its own; ``url`` is its REST address.

    A function is deployed from :meth:`source`, and its entry point is ``main``. Its operation goes on for 2 s at
    least, and for ever if its folder is missing: the emulator doesn't notice that no process could be started.
    """

    @staticmethod
    def is_installed() -> bool:
        """Tell whether ``make functions-emulator`` has been here, and Node.js is."""
        return (_INSTALLED / "ready").exists() and shutil.which("node") is not None

    def __enter__(self) -> FunctionsEmulator:
        """Start it and wait until it answers."""
        rest, supervisor = free_ports(2)
        self.url = f"http://127.0.0.1:{rest}"
        self._home = Path(tempfile.mkdtemp(prefix="functions-emulator-"))
        for name, code in _SOURCES.items():
            (self._home / name).mkdir()
            (self._home / name / "index.js").write_text(code)
        config = self._home / ".config/configstore/@google-cloud/functions-emulator/config.json"
        config.parent.mkdir(parents=True)
        # Without a project it ends at once: TypeError, in the text of its own --help.
        config.write_text(json.dumps({"projectId": "demo"}))
        with (self._home / "output.txt").open("wb") as output:
            # A group of its own: it is stopped with all that it has started, even while it starts something.
            self._process = subprocess.Popen(
                [
                    *("node", _PROGRAM, "--bindHost", "127.0.0.1", "--host", "127.0.0.1"),
                    *("--restPort", str(rest), "--supervisorPort", str(supervisor)),
                    *("--logFile", self._home / "logs/emulator.log"),
                    # It would watch folders in a way that Linux has only from Node.js 20 on.
                    "--no-watch",
                ],
                env={"PATH": os.environ["PATH"], "HOME": str(self._home), "TMPDIR": str(self._home)},
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise
        return self

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/v1/projects/demo/locations/-/functions", timeout=5).ok:
                    return
            time.sleep(0.2)
        output = (self._home / "output.txt").read_text(errors="replace")
        raise RuntimeError(f"the Cloud Functions emulator doesn't answer:\n{output}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.close()

    def source(self, name: str) -> str:
        """Return the ``sourceUploadUrl`` of one of the functions here: ``good``, ``slow`` or ``broken``."""
        return f"{self.url}/upload?localdir={self._home / name}"

    def close(self) -> None:
        """Stop it with the processes of its functions, which would outlive it; remove its home."""
        functions = []
        with suppress(psutil.NoSuchProcess):
            functions = psutil.Process(self._process.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        psutil.wait_procs(functions, timeout=5)
        shutil.rmtree(self._home, ignore_errors=True)
