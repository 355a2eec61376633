"""
One candidate in a process of its own: ``python -m tests.tooling.bench.measured SPEC RESULT_FILE``.

It measures itself: CPU time of the process, its memory, the rounds of its event loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import json
import resource
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import psutil

from tests.tooling.bench.sampling import BlockWatch, CpuSamples, MemorySamples
from tests.tooling.bench.server import counts_at
from tests.tooling.bench.spec import Measured, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

BEAT_S = 0.005
PART_S = 1.0
WARM_LOOKS = 100
CLASSES = {"ours": "ours:Ours", "floor": "floor:Floor", "sensor": "peers:Sensor", "event": "peers:Event"}


class Candidate(Protocol):
    """What waits."""

    async def wait(self, name: str, interval_s: float) -> Any:
        """Return when the operation is over."""

    async def close(self) -> None:
        """Give back what is shared."""


class Collections:
    """
    How long garbage collections take.

    :ivar longest_s: the longest.
    :ivar cpu_s: CPU time of all together.
    """

    def __init__(self) -> None:
        self.longest_s = self.cpu_s = 0.0
        self._since = self._used = 0.0
        gc.callbacks.append(self._note)

    def end(self) -> None:
        """Stop."""
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._since, self._used = time.perf_counter(), time.thread_time()
        else:
            self.longest_s = max(self.longest_s, time.perf_counter() - self._since)
            self.cpu_s += time.thread_time() - self._used


class Beats:
    """
    A task that sleeps 5 ms again and again, and notes by how much longer that took.

    :ivar longest_s: the longest, as a clock on the wall sees it.
    :ivar longest_cpu_s: the most CPU time that this thread used between two beats.
    """

    def __init__(self) -> None:
        self.longest_s = self.longest_cpu_s = 0.0
        self.last = time.perf_counter()
        self._task = asyncio.create_task(self._beat())

    async def end(self) -> None:
        """Stop."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self) -> None:
        while True:
            self.last = time.perf_counter()
            used = time.thread_time()
            await asyncio.sleep(BEAT_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - self.last - BEAT_S)
            self.longest_cpu_s = max(self.longest_cpu_s, time.thread_time() - used)


class Process:
    """The measurement."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.result = Measured()
        module, _, name = CLASSES[spec.candidate].partition(":")
        self._candidate: Candidate = getattr(importlib.import_module(f"tests.tooling.bench.{module}"), name)(
            spec
        )
        self._errors: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Measured:
        """Warm up, start, settle, look."""
        spec, result = self.spec, self.result
        await self._round_trips()
        if spec.warm:
            await self._warm_up()
        memory_before = _memory()
        memory_samples = MemorySamples() if spec.profile == "memory" else None
        began = time.monotonic()
        result.begun = time.time()
        if spec.frozen:
            gc.freeze()
        beats, collections = Beats(), Collections()
        blocks = BlockWatch(beats) if spec.profile == "block" else None
        await self._start()
        result.started_s = time.monotonic() - began
        if not spec.window_s:
            await asyncio.sleep(max(spec.hold_s - result.started_s, 0.0))
        if blocks:
            result.profile = blocks.lines()
        await beats.end()
        result.blocked_ms = 1000 * beats.longest_s
        result.blocked_cpu_ms = 1000 * beats.longest_cpu_s
        collections.end()
        result.collected_ms = 1000 * collections.longest_s
        await asyncio.sleep(spec.settle_s)
        if spec.window_s:
            await self._window()
        if memory_samples:
            result.profile = memory_samples.lines(spec.count)
        result.kb_per_operation = (_memory() - memory_before) / 1024 / spec.count
        result.errors = dict(self._errors.most_common(5))
        await self._end()
        return result

    async def _round_trips(self) -> None:
        async with aiohttp.ClientSession() as session:
            taken = []
            for _ in range(21):
                before = time.perf_counter()
                async with session.get(f"{self.spec.url}/v1/projects/bench/operations/none") as response:
                    await response.read()
                taken.append(time.perf_counter() - before)
        self.result.round_trip_ms = 1000 * statistics.median(taken)

    async def _warm_up(self) -> None:
        before = counts_at(self.spec.url).requests
        for number in range(self.spec.warm):
            self._begin(f"projects/bench/operations/warm-{number}", 0.5)
        for _ in range(WARM_LOOKS):
            if counts_at(self.spec.url).requests - before >= 2 * self.spec.warm:
                break
            await asyncio.sleep(0.2)
        await self._cancel()

    async def _start(self) -> None:
        spec = self.spec
        began = time.monotonic()
        for number in range(spec.count):
            # As the triggerer does: it lets others run before it makes the next.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ahead_s = began + spec.begin_over_s * number / spec.count - time.monotonic()
            if ahead_s > 0.001:
                await asyncio.sleep(ahead_s)
            self._begin(spec.names.format(number), spec.interval_s)

    def _begin(self, name: str, interval_s: float) -> None:
        task = asyncio.create_task(self._wait(name, interval_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, name: str, interval_s: float) -> None:
        try:
            event = await self._candidate.wait(name, interval_s)
        except Exception as error:  # noqa: BLE001  whatever a candidate raises is its result
            self._errors[f"{type(error).__name__}: {error}"[:300]] += 1
        else:
            self.result.ended[name] = time.time()
            if self.spec.counted:  # the operations of that server never end
                self._errors[f"it ended with {event}"[:300]] += 1

    async def _window(self) -> None:
        spec, result = self.spec, self.result
        samples = CpuSamples() if spec.profile == "cpu" else None
        collections = Collections()
        began = time.perf_counter()
        for _ in range(round(spec.window_s / PART_S)):
            asked = counts_at(spec.url).requests
            collected, used = collections.cpu_s, time.process_time()
            await asyncio.sleep(PART_S)
            used = time.process_time() - used - (collections.cpu_s - collected)
            result.parts.append((used, counts_at(spec.url).requests - asked - 1))
        collections.end()
        result.window_s = time.perf_counter() - began
        result.collecting_s = collections.cpu_s
        if samples:
            result.profile = samples.lines()

    async def _end(self) -> None:
        await self._cancel()
        await self._candidate.close()

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _memory() -> int:
    """Return the process's memory in bytes, after giving back what is free."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def main() -> int:
    """Measure, and write the result."""
    spec, file = Spec.from_json(sys.argv[1]), Path(sys.argv[2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def run() -> Measured:
        return await Process(spec).run()

    result = asyncio.run(run())
    file.write_text(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
