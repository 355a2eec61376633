"""
A server that allows so many requests a second and refuses the others: ``python -m tests.tooling.bench.storm RATE``.

Prints its URL. ``/after/SECONDS`` says what came of the requests since so long after the first one.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tooling.bench.loopback import LOOPBACK, Answering, body_of, listening

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["StormServer"]

REFUSAL = json.dumps(
    {
        "error": {
            "code": 429,
            "message": "Quota exceeded for quota metric 'Operation reads' and limit 'Operation reads per minute'",
            "status": "RESOURCE_EXHAUSTED",
        }
    }
).encode()
"""As Google words it; without a Retry-After, so that the client has to find its pace by itself."""


class Limited:
    """
    A bucket of tokens, and a journal.

    :param rate_per_s: tokens that come; at most those of one second are kept.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._rate = rate_per_s
        self._tokens = rate_per_s
        self._filled_s = time.monotonic()
        self._first_s: float | None = None
        self._asked: list[tuple[float, bool]] = []
        self._accepted: dict[str, list[float]] = {}

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a request, or refuse it."""
        now = time.monotonic()
        if target.startswith("/after/"):
            return 200, json.dumps(self._report(now, float(target[7:]))).encode()
        name = target.removeprefix("/v1/")
        if name.endswith("/none"):
            return 200, body_of(name)
        self._first_s = now if self._first_s is None else self._first_s
        self._tokens = min(self._rate, self._tokens + (now - self._filled_s) * self._rate)
        self._filled_s = now
        accepted = self._tokens >= 1
        self._asked.append((now, accepted))
        self._accepted.setdefault(name, [])
        if not accepted:
            return 429, REFUSAL
        self._tokens -= 1
        self._accepted[name].append(now)
        return 200, body_of(name)

    def _report(self, now: float, after_s: float) -> dict[str, float]:
        first = now if self._first_s is None else self._first_s
        late = [accepted for at, accepted in self._asked if at >= first + after_s]
        gaps = [
            max(later - earlier for earlier, later in zip([first, *times], [*times, now], strict=True))
            for times in self._accepted.values()
        ]
        return {
            "lasted_s": now - first,
            "asked": len(self._asked),
            "asked_after": len(late),
            "accepted_after": sum(late),
            "operations": len(self._accepted),
            "never_accepted": sum(not times for times in self._accepted.values()),
            "longest_gap_s": max(gaps, default=0.0),
            "median_gap_s": sorted(gaps)[len(gaps) // 2] if gaps else 0.0,
        }


class StormServer:
    """The server as a process of its own."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate = rate_per_s
        self.url = ""

    def __enter__(self) -> StormServer:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tooling.bench.storm", str(self._rate)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def _serve(rate_per_s: float) -> None:
    listener = listening()
    limited = Limited(rate_per_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(limited.answer), sock=listener, backlog=4096
    )
    print(f"http://{LOOPBACK}:{listener.getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(float(sys.argv[1])))
