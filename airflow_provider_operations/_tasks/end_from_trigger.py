"""What a task would lose by ``end_from_trigger``: checked when a DAG is parsed, and for listeners in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["listeners", "losses", "mapped_over"]


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
