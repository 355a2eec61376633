"""What takes the place of Airflow's metrics."""

from __future__ import annotations

from typing import Any

__all__ = ["Stats"]


class Stats:
    """
    Keeps what it is told: method, name and value.

    :param tags: that each figure has to have.
    """

    def __init__(self, tags: dict[str, str]) -> None:
        self._tags = tags
        self.told: list[tuple[str, str, Any]] = []

    def __getattr__(self, method: str) -> Any:
        """Return the method of this name."""

        def tell(name: str, value: Any, *, tags: dict[str, str]) -> None:
            assert tags == self._tags
            self.told.append((method, name, value))

        return tell
