"""What differs between versions of Airflow, as far as the package knows of it; the package itself asks ``_airflow.compat``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VERSIONS", "Version"]


@dataclass(frozen=True)
class Version:
    """
    An Airflow.

    :param keeps_task_state: it has a task state store; and what came with it in 3.3: ``on_kill`` of triggers, XComs
        pushed by triggers, supervisors that answer a process which they have told to end.
    :param clears_drop_task_state: a clear empties the store.
    :param reports_refusals: extra links are made, and ``see_after_its_end`` called, also if Airflow has refused what a
        worker has reported.
    :param retries_killed: a task whose process had to be killed is retried like any other.
    """

    name: str
    keeps_task_state: bool = True
    clears_drop_task_state: bool = False
    reports_refusals: bool = True
    retries_killed: bool = True

    @property
    def flags(self) -> dict[str, bool]:
        """Return the constants of ``_airflow.compat``."""
        return {
            "KILLED_WORKERS_MAY_ASK": self.keeps_task_state,
            "LINKS_ARE_MADE_LAST": self.reports_refusals,
            "TASKS_HAVE_RETRY_POLICIES": self.keeps_task_state,
            "TRIGGERS_HAVE_ON_KILL": self.keeps_task_state,
            "TRIGGERS_PUSH_XCOMS": self.keeps_task_state,
        }


VERSIONS = {
    version.name: version
    for version in (
        Version("3.0", keeps_task_state=False, reports_refusals=False, retries_killed=False),
        Version("3.2", keeps_task_state=False),
        Version("3.3"),
        Version("3.3, clears drop task state", clears_drop_task_state=True),
    )
}
