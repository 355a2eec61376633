"""The clock that waits go by, in one place so that tests can move it."""

import asyncio
import sys
import time

# Instead of asyncio.wait_for, which before Python 3.12 misses a cancellation that comes in the same moment as the result:
# what was told to end would go on.
if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["asleep", "monotonic", "now", "sleep", "timeout"]

now = time.time
"""Epoch seconds."""

monotonic = time.monotonic
"""Seconds that nobody sets back: for what is asked again after a while."""

sleep = time.sleep
asleep = asyncio.sleep
