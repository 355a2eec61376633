"""What of a trigger is stored in Airflow's database."""

from __future__ import annotations

from typing import Any

__all__ = ["stored_arguments"]


def stored_arguments(trigger: Any, trigger_class: type) -> dict[str, Any]:
    """
    Return a trigger's keyword arguments that differ from their defaults.

    An older triggerer may not know the others.

    :param trigger_class: the class that Airflow will make of them, and whose attributes are named as they are.
    """
    defaults: dict[str, Any] = trigger_class.__init__.__kwdefaults__ or {}  # type: ignore[misc]  # of this very class
    return {name: value for name, default in defaults.items() if (value := getattr(trigger, name)) != default}
