"""Large answers, read by a process of their own: decoding JSON in this one would hold up its event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_operations._json import abridging
from airflow_provider_operations._json.abridging import Abridged, read_abridgement

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["QUICKLY_READ_BYTES", "read_apart"]

QUICKLY_READ_BYTES = 64 * 1024
"""A longer answer isn't decoded on the event loop; this much of the worst takes 30 ms, with all that is done with it."""

AT_ONCE = 2
"""So many are read at the same time: each may take some hundred MiB of memory meanwhile."""

LIMIT_S = 30.0
"""How long reading one may take; 8 MiB of the worst took 3 s."""

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def read_apart(body: bytes, read: Callable[[Abridged], T]) -> T:
    """
    Abridge a large body in a process of its own, and read what is left of it in a thread.

    :param read: gets the abridgement; an answer that can't be abridged is one without JSON.
    """
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))
    async with turns:
        return await asyncio.to_thread(lambda: read(_abridged(body)))


def _abridged(body: bytes) -> Abridged:
    # -I and -S: nothing but the standard library, whatever the environment says; it starts in 10 ms.
    program = [sys.executable, "-I", "-S", abridging.__file__]
    try:
        ended = subprocess.run(  # noqa: S603  our own file, by this interpreter
            program,
            input=body,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=True,
        )
        return read_abridgement(ended.stdout.splitlines())
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        why = f"exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else ""
        return Abridged(problem=f"it is too large to be read here, and reading it apart failed: "
                                f"{type(error).__name__} {why}".rstrip())  # fmt: skip
