"""The secrets that requests are sent with, which a service may repeat in its answers."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

from airflow_provider_operations._protocol.rendering import each_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_operations.operation import Operation, Status

__all__ = ["SentSecrets"]

LEAST_CHARS = 5
"""A shorter secret isn't hidden, as Airflow doesn't: it would be found by chance."""

LEAST_ENCODED_CHARS = 8
"""The encoded forms of a shorter secret would be."""


class SentSecrets:
    """
    The secrets that requests are sent with, in all forms in which a service may repeat them.

    Unlike Airflow's masker it asks for nothing but these, so that it costs next to nothing where none is repeated.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._keep({form for secret in secrets for form in _forms(secret)})

    def __add__(self, other: SentSecrets) -> SentSecrets:
        """Return these and others."""
        both = SentSecrets()
        both._keep({*self.forms, *other.forms})
        return both

    def _keep(self, forms: set[str]) -> None:
        # The longest first: one may be a part of another.
        self.forms: list[Any] = sorted(forms, key=lambda form: (-len(form), form))
        self._hidden = [form for form in self.forms if len(form) >= LEAST_CHARS]
        self._bytes = [form.encode("utf-8", "surrogatepass") for form in self._hidden]

    def may_be_in(self, body: bytes) -> bool:
        """Tell whether any text in a body of JSON may hold a secret; an escaped one isn't looked for."""
        if not self._hidden:
            return False
        escaped = b"\\u00" in body or json.detect_encoding(body) != "utf-8"
        return escaped or any(form in body for form in self._bytes)

    def hidden_in(self, value: Any) -> Any:
        """Return text or JSON without secrets."""
        return each_text(self._hidden_in_text, value) if self._hidden else value

    def _hidden_in_text(self, text: str) -> str:
        if len(text) < LEAST_CHARS:
            return text
        for form in self._hidden:
            if form in text:
                text = text.replace(form, "***")
        return text

    def hidden_in_operation(self, operation: Operation) -> Operation:
        """
        Return an operation without secrets in what it says of itself.

        Its name is what it's asked for by, and its response is the task's: these stay.
        """
        return replace(
            operation,
            metadata=self.hidden_in(operation.metadata),
            error=None if operation.error is None else self._hidden_in_status(operation.error),
            other=self.hidden_in(operation.other),
        )

    def _hidden_in_status(self, status: Status) -> Status:
        message, details, other = self.hidden_in([status.message, status.details, status.other])
        return replace(status, message=message, details=details, other=other)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) < LEAST_ENCODED_CHARS:
        return
    octets = secret.encode("utf-8", "surrogatepass")
    # Without padding: what is hidden then is the longest part that is the same with it.
    yield base64.b64encode(octets).decode("ascii").rstrip("=")
    yield base64.urlsafe_b64encode(octets).decode("ascii").rstrip("=")
    for percent in (quote(octets, safe=""), quote(octets), quote_plus(octets)):
        yield percent
        yield _with_lower_percent(percent)
    yield octets.hex()
    yield unquote(secret)
    yield html.escape(secret)
    yield octets.decode("latin-1")  # as requests reads headers
    for ascii_only in (True, False):
        text = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield text
        yield text.replace("/", r"\/")


def _with_lower_percent(text: str) -> str:
    first, *others = text.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in others)])
