"""
Answers that come before the answer: 102 Processing, 103 Early Hints (RFC 9110, section 15.2).

``http.client`` skips 100 and takes any other for the answer.
"""

from __future__ import annotations

import http.client
from http import HTTPStatus

__all__ = ["FinalResponse"]


class FinalResponse(http.client.HTTPResponse):
    """An answer; what comes before it is skipped, as a client must that hasn't asked for it."""

    def begin(self) -> None:
        """Read the head; of lines that are no headers nothing is kept, which urllib3 would log, whole."""
        super().begin()
        self.msg.set_payload("")
        self.msg.defects.clear()

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not public; begin() calls it in a loop
        if status in range(101, 200) and status != HTTPStatus.SWITCHING_PROTOCOLS:
            status = int(HTTPStatus.CONTINUE)  # begin() skips its head, and reads on
        return version, status, reason
