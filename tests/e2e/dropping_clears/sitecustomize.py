"""
Makes Airflow 3.3 drop a task's state with a clear, unless asked to keep it: https://github.com/apache/airflow/pull/72100.

First on PYTHONPATH. As that change has it: only where a user clears tasks, in the same transaction as the clear.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


def _add_the_argument(module: Any) -> None:
    class ClearTaskInstancesBody(module.ClearTaskInstancesBody):  # type: ignore[misc]  # known at run time only
        keep_task_state: bool = False

    ClearTaskInstancesBody.__module__ = module.__name__
    ClearTaskInstancesBody.__qualname__ = "ClearTaskInstancesBody"
    module.ClearTaskInstancesBody = ClearTaskInstancesBody


def _drop_the_state(module: Any) -> None:
    real = module.clear_task_instances

    def clear_task_instances(tis: Any, session: Any, *arguments: Any, **more: Any) -> Any:
        result = real(tis, session, *arguments, **more)
        body = sys._getframe(1).f_locals.get("body")
        if not getattr(body, "keep_task_state", False):
            from airflow._shared.state import TaskScope
            from airflow.state.metastore import _get_db_backend

            for ti in tis:
                where = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
                _get_db_backend().clear(scope=TaskScope(**where), session=session)
        return result

    module.clear_task_instances = clear_task_instances


_API = "airflow.api_fastapi.core_api"
PATCHES: dict[str, Callable[[Any], None]] = {
    f"{_API}.datamodels.task_instances": _add_the_argument,
    f"{_API}.routes.public.task_instances": _drop_the_state,
}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if (patch := PATCHES.get(name)) is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one module
        return spec


sys.meta_path.insert(0, _Finder())
