"""What others said, without the secrets that Airflow knows of."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations.version_compat import redact

__all__ = ["without_secrets"]


def without_secrets(value: Any) -> Any:
    """
    Hide what Airflow was told to mask; by value alone, as a field's name doesn't make it our secret.

    :param value: text or JSON.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {without_secrets(key): without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value
