"""Names that moved between Airflow versions and that common-compat's ``sdk`` doesn't have."""

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
except ImportError:  # Airflow 2.11
    from airflow.exceptions import (  # type: ignore[no-redef]  # the same classes under their old path
        AirflowRescheduleException,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

__all__ = ["AirflowRescheduleException", "TaskDeferralError", "TaskDeferralTimeout"]
