"""
Tasks whose success may end in the triggerer, and what they would lose by that.

It is checked when a DAG is parsed, and once more in a worker: cluster policies may have added something since, and of
plugins that listen only a worker knows.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.compat import TRIGGERS_PUSH_XCOMS
from airflow_provider_operations._tasks.base import BaseOperationOperator, as_flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["EndsFromTrigger", "listeners", "losses", "mapped_over"]


class EndsFromTrigger(BaseOperationOperator):
    """
    A task of which a trigger can do all that a worker would after a success.

    :param end_from_trigger: when deferrable, a success ends in the triggerer (Airflow 3.3 or later; ignored before).
    """

    def __init__(self, *, end_from_trigger: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        as_flag("end_from_trigger", end_from_trigger)
        # Airflow reads an attribute of this very name, and refuses it where plugins listen.
        self.end_from_trigger = end_from_trigger and self.deferrable and TRIGGERS_PUSH_XCOMS
        if self.end_from_trigger:
            self._refuse_end_from_trigger(losses(self, self._ends_as))
        elif end_from_trigger and self.deferrable:
            warnings.warn(
                "'end_from_trigger' needs Airflow 3.3 or later: workers end this task",
                UserWarning,
                stacklevel=5,
            )

    @property
    def _ends_as(self) -> type:
        """Return the class of which the trigger does all that its methods do; a subclass may override them."""
        raise NotImplementedError

    def prepare_template(self) -> None:
        """Check what only the whole DAG shows; Airflow calls this once it has all of it."""
        super().prepare_template()
        if self.end_from_trigger:
            self._refuse_end_from_trigger(mapped_over(self))
            self._refuse_end_from_trigger(losses(self, self._ends_as))

    def _check_end_from_trigger(self) -> None:
        """
        Refuse in a worker what would be lost.

        :raises ValueError: something would.
        """
        self._refuse_end_from_trigger(self._losses_by_now())

    def _losses_by_now(self) -> list[str]:
        return [*losses(self, self._ends_as), *listeners()] if self.end_from_trigger else []

    def _refuse_end_from_trigger(self, found: Iterable[str]) -> None:
        for loss in found:
            raise ValueError(f"{self.task_id!r} can't have 'end_from_trigger': {loss}")

    def _trigger_ends(self) -> bool | str:
        """Return the trigger's ``end_from_trigger``; an operation that runs already is waited for in any case."""
        for loss in self._losses_by_now():
            self.log.warning("a worker ends this task, as without 'end_from_trigger': %s", loss)
            return False
        from airflow_provider_operations.triggers._end_from_trigger import WITHOUT_RESULT

        return self.end_from_trigger and (self.do_xcom_push or WITHOUT_RESULT)


def losses(task: Any, ends_in: type) -> Iterator[str]:
    """
    Yield what would not happen if a trigger ended the task; Airflow would say nothing about it.

    :param ends_in: the class of which the trigger does all that its methods do; a subclass may override them.
    """
    if task.outlets:
        yield "'outlets' would get no asset events"
    if task.on_success_callback:
        yield "'on_success_callback' would not be called"
    if task.multiple_outputs:
        yield "'multiple_outputs' would not be pushed"
    if task._post_execute_hook:
        yield "'post_execute' would not be called"
    if getattr(task, "returns_dag_result", False):
        yield "its value would not be the DAG's result"
    for method in ("execute_complete", "post_execute", "resume_execution"):
        if getattr(type(task), method) is not getattr(ends_in, method):
            yield f"{type(task).__name__}.{method} would not be called"


def mapped_over(task: Any) -> Iterator[str]:
    """Yield which mapped tasks depend on a task's result; known once the whole DAG is parsed."""
    for node in task.iter_mapped_dependants():
        yield f"{node.node_id!r} is mapped over its result, and only a worker tells Airflow the length of it"


def listeners() -> Iterator[str]:
    """Yield which plugins listen for successes; asked in a worker, where Airflow would call them."""
    from airflow.sdk.listener import get_listener_manager

    for listener in get_listener_manager().hook.on_task_instance_success.get_hookimpls():
        yield f"the listener {listener.plugin_name} would not be told of the success"
