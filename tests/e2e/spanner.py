"""Google's Spanner emulator (Debian package ``google-cloud-cli-spanner-emulator``) as a server of operations."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import requests

from tests.tooling.harness.standalone import free_ports

if TYPE_CHECKING:
    from types import TracebackType

GATEWAY = Path("/usr/lib/google-cloud-sdk/bin/cloud_spanner_emulator/gateway_main")


class SpannerEmulator:
    """Run the emulator on free ports; ``url`` is its REST address."""

    def __enter__(self) -> SpannerEmulator:
        """Start it and wait until it answers."""
        http, grpc = free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        self._process = subprocess.Popen(
            [GATEWAY, "--hostname", "127.0.0.1", "--http_port", str(http), "--grpc_port", str(grpc)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/v1/projects/p/instanceConfigs", timeout=5).ok:
                    return self
            time.sleep(0.2)
        self.close()
        raise TimeoutError("the Spanner emulator doesn't answer")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.close()

    def close(self) -> None:
        """Stop the gateway and its child, which would outlive it and keep the port."""
        family = [
            psutil.Process(self._process.pid),
            *psutil.Process(self._process.pid).children(recursive=True),
        ]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(10)
