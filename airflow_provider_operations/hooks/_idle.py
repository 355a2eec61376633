"""
Whether an idle connection may be used again: only if nobody has spoken on it meanwhile.

A server that sends one answer more than it was asked for would have it taken for the answer to the next request. Both
clients look at a kept-alive connection before they use it again, but not closely enough: aiohttp parses what comes
while it is idle and keeps it for the next request; urllib3 sees what is in the kernel, and not what TLS has unpacked.
"""

from __future__ import annotations

from typing import Any

from urllib3.util.wait import wait_for_read

__all__ = ["has_spoken"]


def has_spoken(sock: Any) -> bool:
    """Tell whether there is something to read on an idle connection: bytes, or its end."""
    pending = getattr(sock, "pending", None)  # of TLS, unpacked already
    return bool(pending and pending()) or wait_for_read(sock, timeout=0.0)
