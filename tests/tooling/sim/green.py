"""Threads and futures of the standard library, as far as the package uses them, on the kernel's green threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from .kernel import Kernel, Process, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Lock", "Loop", "primitives"]


class Lock:
    """A lock of the standard library that a module has made: each process has one of its own."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._held: set[Process | None] = set()
        self._waiting: dict[Process | None, list[Waiter]] = {}

    def __enter__(self) -> None:
        process = self._kernel.current
        while process in self._held:
            waiter = Waiter(self._kernel)
            self._waiting.setdefault(process, []).append(waiter)
            self._kernel.wait(waiter)
        self._held.add(process)

    def __exit__(self, *_: object) -> None:
        process = self._kernel.current
        self._held.remove(process)
        for waiter in self._waiting.pop(process, ()):
            waiter.fire()


def primitives(kernel: Kernel) -> dict[Any, Any]:
    """Return what takes the place of each class and function of the standard library."""

    class Event:
        def __init__(self) -> None:
            self._set = False
            self._waiters: list[Waiter] = []

        def is_set(self) -> bool:
            return self._set

        def set(self) -> None:
            self._set = True
            for waiter in self._waiters:
                waiter.fire()

        def wait(self, timeout: float | None = None) -> bool:
            if not self._set:
                waiter = Waiter(kernel)
                self._waiters.append(waiter)
                kernel.wait(waiter, timeout)
            return self._set

    class Thread:
        def __init__(self, target: Callable[..., Any], args: tuple[Any, ...] = (), **_: Any) -> None:
            self._target, self._args, self._ended = target, args, Event()

        def start(self) -> None:
            process = kernel.current
            assert process is not None
            kernel.spawn(process, self._run)

        def _run(self) -> None:
            try:
                self._target(*self._args)
            finally:
                self._ended.set()

        def join(self, timeout: float | None = None) -> None:
            self._ended.wait(timeout)

        def is_alive(self) -> bool:
            return not self._ended.is_set()

    class Future:
        def __init__(self) -> None:
            self._result: Any = None
            self._error: BaseException | None = None
            self._done = Event()

        def __class_getitem__(cls, _: Any) -> type[Future]:
            return cls

        def done(self) -> bool:
            return self._done.is_set()

        def set_result(self, result: Any) -> None:
            self._result = result
            self._done.set()

        def set_exception(self, error: BaseException) -> None:
            self._error = error
            self._done.set()

        def exception(self, timeout: float | None = None) -> BaseException | None:
            if not self._done.wait(timeout):
                raise concurrent.futures.TimeoutError
            return self._error

        def result(self, timeout: float | None = None) -> Any:
            if (error := self.exception(timeout)) is not None:
                raise error
            return self._result

    def wait(futures: Iterable[Future], timeout: float | None = None) -> Any:
        (only,) = futures
        only._done.wait(timeout)
        return SimpleNamespace(done={only} if only.done() else set())

    return {
        threading.Event: Event,
        threading.Thread: Thread,
        concurrent.futures.Future: Future,
        concurrent.futures.wait: wait,
    }


class Loop:
    """The event loop of a process, in virtual time and without sockets: what asyncio's coroutines ask of one."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process
        self._ready: list[asyncio.Handle] = []
        self._is_due = False
        self._queues: dict[Any, list[Callable[[], None]]] = {}
        """What waits for an executor of one thread."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._kernel.now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, cast("Any", self), context)
        self._add(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, cast("Any", self), context)
        self._kernel.at(when - self.time(), lambda: self._add(handle), self._process)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: a cancelled handle isn't run."""

    def _add(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            self._ready.append(handle)
            if not self._is_due:
                self._is_due = True
                self._kernel.at(0, self._turn, self._process)

    def _turn(self) -> None:
        self._is_due = False
        ready, self._ready = self._ready, []
        asyncio._set_running_loop(cast("Any", self))
        try:
            for handle in ready:
                if not handle.cancelled() and not self._process.dead:
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("Any", self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=cast("Any", self), name=name)
        self.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()

        def work() -> None:
            try:
                result, error = func(*args), None
            except Exception as raised:  # noqa: BLE001  handed to whoever awaits it
                result, error = None, raised
            self.call_soon(settle, result, error)
            if executor is not None:
                queue = self._queues[executor]
                del queue[0]
                if queue:
                    self._kernel.spawn(self._process, queue[0])

        def settle(result: Any, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        queue = self._queues.setdefault(executor, [])
        if executor is not None:
            queue.append(work)
        if executor is None or len(queue) == 1:
            self._kernel.spawn(self._process, work)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def drop(self) -> None:
        """Throw away what runs, as the death of the process does, so that none of it does anything."""
        asyncio._set_running_loop(cast("Any", self))
        try:
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own
                    with suppress(BaseException):  # of code that awaits while it is closed
                        cast("Any", task.get_coro()).close()
        finally:
            asyncio._set_running_loop(None)
