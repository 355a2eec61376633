"""The clock that waits go by, in one place so that tests can move it."""

import asyncio
import time

__all__ = ["asleep", "now", "sleep"]

now = time.time
"""Epoch seconds."""

sleep = time.sleep
asleep = asyncio.sleep
