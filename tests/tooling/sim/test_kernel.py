"""The kernel of the simulation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from .green import Lock, Loop, primitives
from .kernel import BEGIN_S, Endless, Kernel, Process, Waiter


def test_sleeping_takes_virtual_time_only() -> None:
    """A thread that sleeps for a day is woken a day later."""
    kernel = Kernel(0)
    woken = []

    def sleeper() -> None:
        kernel.sleep(86400)
        woken.append(kernel.now - BEGIN_S)

    kernel.spawn(Process("p"), sleeper)
    kernel.run(100_000)
    assert woken == [86400]


def test_a_seed_decides_the_order() -> None:
    """What falls on one moment happens in an order that only the seed decides."""

    def order(seed: int) -> list[int]:
        kernel = Kernel(seed)
        done: list[int] = []
        for number in range(8):
            kernel.at(1, lambda number=number: done.append(number))  # type: ignore[misc]
        kernel.run(2)
        return done

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(9)}) > 1


def test_a_killed_process_does_nothing_more() -> None:
    """Neither what comes after the wait nor a blocking call in ``finally`` is carried out."""
    kernel, process = Kernel(0), Process("p")
    done = []

    def work() -> None:
        try:
            kernel.sleep(10)
            done.append("slept")
        finally:
            kernel.sleep(1)
            done.append("cleaned up")

    kernel.spawn(process, work)
    kernel.at(5, lambda: kernel.kill(process))
    process.on_death.append(lambda: done.append("dead"))
    kernel.run(100)
    assert done == ["dead"]


def test_a_frozen_process_goes_on_later() -> None:
    """What was due meanwhile happens when the process is back."""
    kernel, process = Kernel(0), Process("p")
    woken = []

    def work() -> None:
        kernel.sleep(10)
        woken.append(kernel.now - BEGIN_S)

    kernel.spawn(process, work)
    kernel.at(5, lambda: kernel.freeze(process))
    kernel.at(50, lambda: kernel.thaw(process))
    kernel.run(100)
    assert woken == [pytest.approx(50, abs=0.2)]


def test_a_signal_handler_may_block_itself() -> None:
    """It runs on top of what the main thread waits for, which is over only when the handler is done."""
    kernel, process = Kernel(0), Process("p")
    done = []

    def handler() -> None:
        kernel.sleep(5)
        done.append(("handled", kernel.now - BEGIN_S))

    def work() -> None:
        kernel.sleep(3)
        done.append(("slept", kernel.now - BEGIN_S))

    kernel.spawn(process, work)
    kernel.at(1, lambda: kernel.signal(process, handler))
    kernel.run(100)
    assert done == [("handled", 6), ("slept", 6)]


def test_threads_and_futures() -> None:
    """A thread sets a future that another waits for; a wait that is too short ends with a time-out."""
    kernel = Kernel(0)
    standard = primitives(kernel)
    seen = []

    def main() -> None:
        future = standard[concurrent.futures.Future]()

        def answer() -> None:
            kernel.sleep(2)
            future.set_result("answer")

        thread = standard[threading.Thread](target=answer)
        thread.start()
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(1)
        assert not standard[concurrent.futures.wait]([future], 0.5).done
        seen.append(future.result())
        thread.join(1)
        seen.append(kernel.now - BEGIN_S)

    kernel.spawn(Process("p"), main)
    kernel.run(10)
    assert seen == ["answer", 2]


def test_the_loop_runs_asyncio_in_virtual_time() -> None:
    """Sleeping, ``wait_for``, cancelling and executors, as a triggerer uses them."""
    kernel, process = Kernel(0), Process("p")
    loop = Loop(kernel, process)
    seen: list[object] = []

    async def main() -> None:
        await asyncio.sleep(5)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 7)
        seen.append(loop.time() - BEGIN_S)
        await asyncio.to_thread(kernel.sleep, 3)
        seen.append(loop.time() - BEGIN_S)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError as error:
            seen.append(error.args)

    task = loop.create_task(main())
    kernel.at(20, lambda: task.cancel("why"), process)
    kernel.run(100)
    assert seen == [12, 15, ("why",)]
    assert not loop.errors


def test_waiters_are_woken_once() -> None:
    """A waiter that is fired twice wakes its thread once."""
    kernel, process = Kernel(0), Process("p")
    waiters: list[Waiter] = []
    woken = []

    def work() -> None:
        waiters.append(Waiter(kernel))
        woken.append(kernel.wait(waiters[0], 50))
        woken.append(kernel.wait(Waiter(kernel), 10))

    def fire() -> None:
        waiters[0].fire()

    kernel.spawn(process, work)
    kernel.at(1, fire)
    kernel.at(1, fire)
    kernel.run(100)
    assert woken == [True, False]


def test_what_never_ends_is_said() -> None:
    """A loop in which no time passes isn't waited for."""
    kernel = Kernel(0)

    def again() -> None:
        kernel.at(0, again)

    kernel.at(3, again)
    with pytest.raises(Endless, match=r"events by 3\.000 s"):
        kernel.run(100)


def test_a_lock_holds_one_process() -> None:
    """Who waits for it lets time pass; another process has one of its own."""
    kernel, one, other = Kernel(0), Process("one"), Process("other")
    lock, held = Lock(kernel), []

    def hold(name: str) -> None:
        with lock:
            held.append((name, kernel.now - BEGIN_S))
            kernel.sleep(10)

    for process, name in ((one, "first"), (one, "second"), (other, "elsewhere")):
        kernel.spawn(process, lambda name=name: hold(name))  # type: ignore[misc]
    kernel.run(100)
    at = dict(held)
    assert at["elsewhere"] == 0
    assert sorted((at["first"], at["second"])) == [0, 10]
