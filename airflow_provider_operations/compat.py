"""Names that moved between versions of Airflow and common-compat, and that common-compat's ``sdk`` doesn't have."""

from typing import Any

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
except ImportError:  # Airflow 2.11
    from airflow.exceptions import (  # type: ignore[no-redef]  # the same classes under their old path
        AirflowRescheduleException,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

try:
    from airflow.sdk.log import mask_secret
except ImportError:  # Airflow 2.11
    from airflow.utils.log.secrets_masker import mask_secret  # type: ignore[no-redef, import-not-found]

try:
    from airflow.providers.common.compat.connection import get_async_extra_dejson
except ImportError:  # common-compat 1.20, the newest for Python 3.10

    async def get_async_extra_dejson(conn: Any) -> dict[str, Any]:  # type: ignore[misc]  # it is a Coroutine there
        """Return the connection's extra; in a thread, as masking its secrets asks the supervisor."""
        from asgiref.sync import sync_to_async

        extra: dict[str, Any] = await sync_to_async(lambda: conn.extra_dejson)()
        return extra


__all__ = [
    "AirflowRescheduleException",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "get_async_extra_dejson",
    "mask_secret",
]
