"""Large answers are read by a process of their own: decoding JSON in this one would hold up its event loop."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

from airflow_provider_operations._json import abridging
from airflow_provider_operations._json.abridging import Abridged, read_abridgement
from airflow_provider_operations._protocol import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["AT_ONCE", "QUICKLY_READ_BYTES", "abridged", "read_apart"]

QUICKLY_READ_BYTES = 48 * 1024
"""A longer answer isn't decoded on the event loop: reading the worst of this length takes 30 ms in all."""

AT_ONCE = 2
"""So many answers of one connection are read at the same time: each may take some hundred MiB of memory meanwhile."""

LIMIT_S = 30.0
"""How long reading one may take; 8 MiB of the worst took 3 s."""

log = logging.getLogger(__name__)


async def read_apart(body: bytes, read: Callable[[Abridged | None], T], turns: asyncio.Semaphore) -> T:
    """
    Abridge a large body in a process of its own, and read what is left of it.

    :param read: called with the abridgement; an answer that can't be abridged counts as one without JSON. Called with
        ``None``, in a thread, where no process can be started: it then reads all of it, slowly.
    :param turns: the connection's, so that a service doesn't hold up others.
    """
    async with turns:
        try:
            output = await _output(body)
        except _FAILURES as error:
            if (known := _without_output(error)) is not None:
                return read(known)
            log.warning(
                "a large answer is read here, which holds up other triggers: no process starts (%s: %s)",
                type(error).__name__,
                error,
            )
            return await asyncio.to_thread(read, None)
        if output.count(b"\n") <= 1:
            return read(_of(output))
        return await asyncio.to_thread(lambda: read(_of(output)))


def abridged(body: bytes) -> Abridged | None:
    """Abridge a large body in a process of its own, and wait for it; ``None``: none can be started."""
    try:
        ended = subprocess.run(  # noqa: S603  our own file, by this interpreter
            _program(), input=body, stdout=PIPE, stderr=DEVNULL, timeout=LIMIT_S, check=True
        )
    except _FAILURES as error:
        return _without_output(error)
    return _of(ended.stdout)


async def _output(body: bytes) -> bytes:
    """Do what ``subprocess.run`` does in ``abridged``, without blocking the event loop."""
    program = _program()
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        async with clock.timeout(LIMIT_S):
            stdout, _ = await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, program)
    return stdout


def _program() -> list[str]:
    if not sys.executable:
        raise FileNotFoundError("Python doesn't know its own path")
    # -I and -S: nothing but the standard library, whatever the environment says; it starts in 10 ms.
    return [sys.executable, "-I", "-S", abridging.__file__]


_FAILURES = (OSError, asyncio.TimeoutError, subprocess.SubprocessError)


def _without_output(error: Exception) -> Abridged | None:
    """Return what is known of a body whose process failed; ``None``: it could not be started."""
    if isinstance(error, asyncio.TimeoutError | subprocess.TimeoutExpired):
        return _unread("not in time")
    if isinstance(error, subprocess.CalledProcessError):
        return _unread(f"exit code {error.returncode}")
    return None


def _of(output: bytes) -> Abridged:
    try:
        return read_abridgement(output.splitlines())
    except ValueError as error:
        return _unread(str(error))


def _unread(why: str) -> Abridged:
    return Abridged(problem=f"it is too large to be read here, and reading it apart failed: {why}")
