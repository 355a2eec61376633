"""Where CPU time, memory and long rounds of the event loop go; only for what missed its target."""

from __future__ import annotations

import linecache
import signal
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = ["BlockWatch", "CpuSamples", "MemorySamples"]

SAMPLE_S = 0.001
LINES = 30
LONG_S = 0.02


class HasLast(Protocol):
    """What beats."""

    last: float


def _short(file: str) -> str:
    parts = Path(file).parts
    for anchor in ("site-packages", "main"):
        if anchor in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(anchor) :])
    return "/".join(parts[-2:])


def _stack(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return stack


class CpuSamples:
    """Stacks of the main thread, one for each millisecond of CPU time; begins at once."""

    def __init__(self) -> None:
        self._stacks: Counter[tuple[tuple[CodeType, int], ...]] = Counter()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self._stacks[tuple(_stack(frame))] += 1

    def lines(self) -> list[str]:
        """End, and return the functions with the most time: with what they call, and alone by line."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        total = sum(self._stacks.values()) or 1
        within: Counter[str] = Counter()
        alone: Counter[str] = Counter()
        for stack, count in self._stacks.items():
            for name in {f"{_short(code.co_filename)} {code.co_qualname_}" for code in map(_named, stack)}:
                within[name] += count
            code, line = stack[0]
            alone[f"{_short(code.co_filename)}:{line} {code.co_name}"] += count
        return [
            f"{total} samples; share of the time in a function and what it calls:",
            *(f"{count / total:6.1%} {name}" for name, count in within.most_common(2 * LINES)),
            "alone, by line:",
            *(f"{count / total:6.1%} {name}" for name, count in alone.most_common(LINES)),
        ]


class _Code:
    """A code object's names, on Python 3.10 too."""

    def __init__(self, code: CodeType) -> None:
        self.co_filename = code.co_filename
        self.co_qualname_ = getattr(code, "co_qualname", code.co_name)


def _named(place: tuple[CodeType, int]) -> _Code:
    return _Code(place[0])


class MemorySamples:
    """What is allocated from now on."""

    def __init__(self) -> None:
        tracemalloc.start(8)
        self._before = tracemalloc.take_snapshot()

    def lines(self, count: int) -> list[str]:
        """End, and return the places that hold the most, as bytes for each of ``count`` operations."""
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        differences = after.compare_to(self._before, "lineno")
        total = sum(difference.size_diff for difference in differences)
        lines = [f"{total / count:.0f} bytes per operation, by place of allocation:"]
        for difference in differences[:LINES]:
            frame = difference.traceback[0]
            code = linecache.getline(frame.filename, frame.lineno).strip()
            lines.append(
                f"{difference.size_diff / count:8.0f} B {difference.count_diff / count:5.1f} blocks "
                f"{_short(frame.filename)}:{frame.lineno} {code[:80]}"
            )
        return lines


class BlockWatch:
    """A thread that looks what the main thread does while the event loop doesn't come round."""

    def __init__(self, beats: HasLast) -> None:
        self._beats = beats
        self._main = threading.get_ident()
        self._over = threading.Event()
        self._blocks: dict[float, tuple[float, list[str]]] = {}
        self._thread = threading.Thread(target=self._watch, name="block watch", daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """End, and return what the longest blocks were about."""
        self._over.set()
        self._thread.join()
        longest = sorted(self._blocks.values(), reverse=True)[:3]
        lines: list[str] = []
        for length, samples in longest:
            lines.append(f"{1000 * length:.0f} ms without a round of the event loop; what ran, by samples:")
            lines += [f"{count:4} {where}" for where, count in Counter(samples).most_common(12)]
        return lines

    def _watch(self) -> None:
        while not self._over.wait(0.003):
            last = self._beats.last
            length = time.perf_counter() - last
            if length < LONG_S:
                continue
            frame = sys._current_frames().get(self._main)
            places = [
                f"{_short(code.co_filename)}:{line} {code.co_name}"
                for code, line in _stack(frame)
                if "asyncio" not in code.co_filename and "bench" not in code.co_filename
            ]
            _, samples = self._blocks.get(last, (0.0, []))
            samples.append(" < ".join(places[:4]))
            self._blocks[last] = (length, samples)
