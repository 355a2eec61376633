"""What hooks need of Airflow and common-compat, and moved between their versions; not loaded by DAG files."""

from typing import Any

try:
    from airflow.sdk.log import mask_secret, redact  # type: ignore[attr-defined]  # imported there to be had
except ImportError:  # Airflow 2.11
    from airflow.utils.log.secrets_masker import mask_secret, redact  # type: ignore[no-redef, import-not-found]

try:
    from airflow.providers.common.compat.connection import get_async_extra_dejson
except ImportError:  # common-compat 1.20, the newest for Python 3.10

    async def get_async_extra_dejson(conn: Any) -> dict[str, Any]:  # type: ignore[misc]  # it is a Coroutine there
        """Return the connection's extra; in a thread, as masking its secrets asks the supervisor."""
        from asgiref.sync import sync_to_async

        extra: dict[str, Any] = await sync_to_async(lambda: conn.extra_dejson)()
        return extra


__all__ = ["get_async_extra_dejson", "mask_secret", "redact"]
