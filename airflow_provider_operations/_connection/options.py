"""Which service is meant and how it spells its calls: what hooks, triggers and tasks take as arguments."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["SERVICE_FIELDS", "ServiceOptions"]


@dataclass(frozen=True)
class ServiceOptions:
    """
    A connection, and what a task or a hook says instead of it.

    :param operations_conn_id: connection of type ``operations``.
    :param base_url: this and the next four: instead of what the connection says.
    """

    operations_conn_id: str = "operations_default"
    base_url: str | None = None
    path_prefix: str | None = None
    cancel_suffix: str | None = None
    cancel_method: str | None = None
    error_format: int | None = None

    @classmethod
    def of(cls, holder: Any) -> ServiceOptions:
        """Return what a task's or a trigger's attributes of these names say by now: in a task they are templates."""
        return cls(**{field: getattr(holder, field) for field in SERVICE_FIELDS})

    def arguments(self) -> dict[str, Any]:
        """Return them as keyword arguments."""
        return asdict(self)


SERVICE_FIELDS = tuple(field.name for field in fields(ServiceOptions))
"""Their names."""
