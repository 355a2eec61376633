"""The arguments of a trigger that are stored in Airflow's database."""

from __future__ import annotations

from typing import Any

__all__ = ["stored_arguments"]


def stored_arguments(trigger: Any, trigger_class: type) -> dict[str, Any]:
    """
    Return a trigger's keyword arguments that differ from their defaults.

    The rest is left out, as an older triggerer may not know it.

    :param trigger_class: the class that Airflow will call with them; its attributes have the arguments' names.
    """
    defaults: dict[str, Any] = trigger_class.__init__.__kwdefaults__ or {}  # type: ignore[misc]  # of this very class
    return {name: value for name, default in defaults.items() if (value := getattr(trigger, name)) != default}
