"""Names that moved between Airflow versions and that common-compat's ``sdk`` doesn't have."""

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
except ImportError:  # Airflow 2.11
    from airflow.exceptions import (  # type: ignore[no-redef]  # the same classes under their old path
        AirflowRescheduleException,
        TaskDeferralError,
    )

    TaskDeferralTimeout = None  # type: ignore[assignment, misc]  # it has none


def is_trigger_timeout(error: Exception) -> bool:
    """Tell whether a trigger failed as its time, of which Airflow knows, was up."""
    if TaskDeferralTimeout is None:
        return isinstance(error, TaskDeferralError) and str(error) == "Trigger/execution timeout"
    return isinstance(error, TaskDeferralTimeout)


__all__ = ["AirflowRescheduleException", "TaskDeferralError", "is_trigger_timeout"]
