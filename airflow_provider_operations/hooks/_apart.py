"""Large answers, read by a process of their own: decoding JSON in this one would hold up its event loop."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from airflow_provider_operations._json import abridging
from airflow_provider_operations._json.abridging import Abridged, read_abridgement

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["AT_ONCE", "QUICKLY_READ_BYTES", "abridged", "read_apart"]

QUICKLY_READ_BYTES = 48 * 1024
"""A longer answer isn't decoded on the event loop; this much of the worst takes 30 ms, with all that is done with it."""

AT_ONCE = 2
"""So many answers of one connection are read at the same time: each may take some hundred MiB of memory meanwhile."""

LIMIT_S = 30.0
"""How long reading one may take; 8 MiB of the worst took 3 s."""

log = logging.getLogger(__name__)


class _NoProcess(Exception):
    """None can be started here."""


async def read_apart(body: bytes, read: Callable[[Abridged | None], T], turns: asyncio.Semaphore) -> T:
    """
    Abridge a large body in a process of its own, and read what is left of it.

    :param read: gets the abridgement; an answer that can't be abridged is one without JSON. It gets ``None``, in a
        thread, where no process can be started: then all of it is read here, which is slow, and better than not at all.
    :param turns: of the connection, so that one service takes no turn from others.
    """
    async with turns:
        try:
            lines = await _lines(body)
        except _NoProcess as error:
            log.warning(
                "a large answer is read here, which holds up other triggers: no process starts (%s)", error
            )
            return await asyncio.to_thread(read, None)
        except asyncio.TimeoutError:
            return read(_unread("not in time"))
        except ValueError as error:
            return read(_unread(str(error)))
        if len(lines) == 1:
            return read(_of(lines))
        return await asyncio.to_thread(lambda: read(_of(lines)))


def abridged(body: bytes) -> Abridged | None:
    """Abridge a large body in a process of its own, and wait for it; ``None``: none can be started."""
    if not sys.executable:
        return None
    try:
        ended = subprocess.run(  # noqa: S603  our own file, by this interpreter
            _program(),
            input=body,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=True,
        )
    except OSError:
        return None
    except subprocess.SubprocessError as error:
        return _unread(type(error).__name__)
    return _of(ended.stdout.splitlines())


async def _lines(body: bytes) -> list[bytes]:
    if not sys.executable:
        raise _NoProcess("Python doesn't know its own path")
    try:
        process = await asyncio.create_subprocess_exec(
            *_program(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise _NoProcess(f"{type(error).__name__}: {error}") from error
    try:
        stdout, _ = await asyncio.wait_for(process.communicate(body), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ValueError(f"exit code {process.returncode}")
    return stdout.splitlines()


def _program() -> list[str]:
    # -I and -S: nothing but the standard library, whatever the environment says; it starts in 10 ms.
    return [sys.executable, "-I", "-S", abridging.__file__]


def _of(lines: list[bytes]) -> Abridged:
    try:
        return read_abridgement(lines)
    except ValueError as error:
        return _unread(str(error))


def _unread(why: str) -> Abridged:
    return Abridged(problem=f"it is too large to be read here, and reading it apart failed: {why}")
