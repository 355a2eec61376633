"""What others said, without the secrets that Airflow knows of."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations._airflow.compat import redact
from airflow_provider_operations._protocol.rendering import each_text

__all__ = ["without_secrets"]


def without_secrets(value: Any) -> Any:
    """
    Hide what Airflow was told to mask: its values, not fields by name, as others' fields aren't our secrets.

    :param value: text or JSON.
    """
    return each_text(redact, value)
