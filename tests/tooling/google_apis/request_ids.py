"""
What the documentation of request ids promises: each distinct text is classed in ``request_ids.json``, by a person.

Only a promise that a repeated call is recognised makes a field one by which a lost start may be sent again.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["FILE", "Promises"]

FILE = Path(__file__).with_name("request_ids.json")


class Promises:
    """
    The reviewed classes.

    ``{"deduplicates": [text, ...], "promises nothing": {text: why, ...}}``
    """

    def __init__(self, deduplicating: list[str], others: dict[str, str]) -> None:
        self._deduplicating = set(deduplicating)
        self._others = others
        self.asked: set[str] = set()
        self.unknown: set[str] = set()

    @classmethod
    def reviewed(cls) -> Promises:
        """Read the file."""
        read = json.loads(FILE.read_text())
        return cls(read["deduplicates"], read["promises nothing"])

    @property
    def known(self) -> set[str]:
        """All texts that are classed."""
        return self._deduplicating | self._others.keys()

    def deduplicates(self, description: str) -> bool:
        """Tell whether a text promises it; a text that nobody has classed is noted, and promises nothing."""
        self.asked.add(description)
        if description not in self.known:
            self.unknown.add(description)
        return description in self._deduplicating
