"""The extra link from a task to the page about its operation in the service's console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_operations._airflow.xcom import LINK_KEY

if TYPE_CHECKING:
    from typing import Any

__all__ = ["OperationLink"]


class OperationLink(BaseOperatorLink):
    """
    The link "Service Console", made of the connection's ``console_url``.

    The task pushes it before it waits, each mapped one its own. Airflow 3 shows what is in that XCom, and once a
    worker is done with the task, it overwrites it with what this returns; Airflow 2 asks here.
    """

    name = "Service Console"  # beside it in the UI is the tab "Operation"

    @property
    def xcom_key(self) -> str:
        """The XCom that holds the link."""
        return LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the link that the task has pushed; empty if there is none.

        Airflow is asked only where the operator doesn't know, as it logs an error if there is no such XCom. In a worker
        this is the last call that an operator gets, which ``see_after_its_end`` uses.
        """
        if (see_after_its_end := getattr(operator, "see_after_its_end", None)) is not None:
            see_after_its_end(ti_key)

        known = getattr(operator, "link_to_console", None)
        if isinstance(known, str):
            return known

        from airflow.providers.common.compat.sdk import XCom

        link = XCom.get_value(key=LINK_KEY, ti_key=ti_key)
        return link if isinstance(link, str) else ""
