"""The body of an answer, collected as it arrives and then unpacked; both sizes are limited."""

from __future__ import annotations

import zlib

__all__ = [
    "ACCEPT_ENCODING",
    "CHUNK_BYTES",
    "MAX_BODY_BYTES",
    "MAX_WIRE_BYTES",
    "BadEncoding",
    "Body",
    "TooLargeError",
    "late",
]

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Longest answer that is read, both as it is sent and unpacked."""

MAX_WIRE_BYTES = 16 * 1024 * 1024
"""Most that is read of one answer, with head, chunk sizes and trailers."""

CHUNK_BYTES = 64 * 1024

ACCEPT_ENCODING = "gzip, deflate"
"""Encodings that are asked for and understood; libraries would unpack others without a limit."""


class TooLargeError(Exception):
    """An answer is larger than what is read."""


def late() -> TimeoutError:
    """Return the error of an answer for which the time is up."""
    return TimeoutError("the answer was not complete in time")


class BadEncoding(ValueError):
    """A body that isn't packed as its header says, or in a way that wasn't asked for."""


class Body:
    """
    The body of one answer.

    :param encoding: the header ``Content-Encoding``.
    :param most_bytes: the longest that is taken.
    :raises BadEncoding: the encoding isn't understood.
    """

    def __init__(self, encoding: str | None, most_bytes: int = MAX_BODY_BYTES) -> None:
        self._most_bytes = most_bytes
        self._encoding = (encoding or "identity").strip().lower()
        if self._encoding not in {"identity", "gzip", "x-gzip", "deflate"}:
            raise BadEncoding(f"the answer is packed in a way that was not asked for: {encoding!r:.60}")
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """
        Add what has arrived.

        :raises TooLargeError: it is too much.
        """
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._most_bytes:
            raise _too_large(self._most_bytes)

    @property
    def is_costly(self) -> bool:
        """Whether unpacking takes long: better not on an event loop. It doesn't hold the GIL."""
        return self._encoding != "identity" and self._size > _QUICKLY_UNPACKED_BYTES

    def whole(self) -> bytes:
        """
        Return the body, unpacked.

        :raises TooLargeError: it is too long.
        :raises BadEncoding: it can't be unpacked, is cut off, or something stands behind it.
        """
        packed = b"".join(self._chunks)
        if self._encoding == "identity" or not packed:
            return packed
        # zlib's own header, or gzip's; some send what they call deflate without one.
        has_header = self._encoding != "deflate" or (
            packed[0] & 0x0F == zlib.DEFLATED and int.from_bytes(packed[:2], "big") % 31 == 0
        )
        unpacking = zlib.decompressobj(zlib.MAX_WBITS + 32 if has_header else -zlib.MAX_WBITS)
        try:
            body = unpacking.decompress(packed, self._most_bytes + 1)
        except zlib.error as error:
            raise BadEncoding(f"the answer is not {self._encoding}: {error}") from error
        if len(body) > self._most_bytes:
            raise _too_large(self._most_bytes)
        if not unpacking.eof:
            raise BadEncoding(f"the answer is cut off in the middle of its {self._encoding}")
        if unpacking.unused_data:
            raise BadEncoding(f"something stands behind the answer's {self._encoding}")
        return body


_QUICKLY_UNPACKED_BYTES = 4 * 1024
"""Unpacked it is 4 MiB at most."""


def _too_large(most_bytes: int) -> TooLargeError:
    return TooLargeError(f"the answer is longer than {most_bytes} bytes")
