"""``@task.operation``: a function makes the request, the task runs the operation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_operations._airflow.compat import OPERATORS_LACK_XCOM_PUSH
from airflow_provider_operations.operators import RunOperationOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow.providers.common.compat.sdk import Context, TaskDecorator

    from airflow_provider_operations._lifecycle.start_call import StartCall

__all__ = ["operation_task"]

REQUEST_ARGUMENTS = ("path", "method", "json", "query", "headers", "resource_name")

METHOD_ARGUMENTS = ("parameters", "json", "headers", "resource_name")
"""The same where ``api_method`` says what is called."""


class OperationDecoratedOperator(DecoratedOperator, RunOperationOperator):
    """
    Call a function for the request, then do as ``RunOperationOperator``.

    The function is called when a start is to be sent: not by a try that takes an operation over. What it returns is
    sent as it is, without rendering.

    :param python_callable: returns a dict of ``path``, ``method``, ``json``, ``query``, ``headers``, or path and JSON
        body as a pair; with ``api_method`` a dict of ``parameters``, ``json``, ``headers``.
    :param path: this and ``method``, ``json``, ``query``, ``headers``, ``parameters``: where the function doesn't return
        them.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *RunOperationOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **RunOperationOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.operation"
    _function_returns_it = True

    _arguments: Mapping[str, Any] | None = None
    """Keyword arguments of the function."""
    _requested: bool = False

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        path: str | None = None,
        **kwargs: Any,
    ) -> None:
        if inspect.iscoroutinefunction(python_callable):
            raise TypeError(
                "@task.operation takes no coroutine function: what it does is to return a request"
            )
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, path=path, **kwargs
        )

    if OPERATORS_LACK_XCOM_PUSH:

        @staticmethod
        def xcom_push(context: Context, key: str, value: Any) -> None:
            """Push an XCom."""
            context["ti"].xcom_push(key=key, value=value)

    def execute(self, context: Context) -> Any:
        """Start the operation that the function asks for, or take over an earlier try's; then wait for it."""
        context_merge(context, self.op_kwargs)
        self._arguments = determine_kwargs(self.python_callable, self.op_args, context)
        return super().execute(context)

    def _call(self) -> StartCall:
        if not self._requested:
            if self.api_method is not None:
                self._look_up_connection()  # as later stays do, which don't know what the function returns
            returned = self.python_callable(*self.op_args, **self._arguments or {})
            request = _request(returned, self.path) if self.api_method is None else _of_method(returned)
            for field, value in request.items():
                setattr(self, field, value)
            self._requested = True
            self.overwrite_rtif_after_execution = True  # what is shown as rendered is what was sent
        return super()._call()


def _request(returned: Any, path: str | None) -> dict[str, Any]:
    """
    Check what the function has returned.

    :raises TypeError: it is no request.
    """
    if isinstance(returned, tuple) and len(returned) == 2:
        returned = dict(zip(("path", "json"), returned, strict=True))
    if not isinstance(returned, Mapping):
        raise _no_request(f"it returned {_shown(returned)}")
    request = dict(returned)
    if unknown := [key for key in request if key not in REQUEST_ARGUMENTS]:
        raise _no_request(f"it returned {unknown[0]!r}")
    asked = {"path": path, **request}
    if not isinstance(asked["path"], str) or not asked["path"]:
        raise _no_request(f"its path is {_shown(asked['path'])}")
    if not isinstance(request.get("method", ""), str):
        raise _no_request(f"its method is {_shown(request['method'])}")
    for key, is_or_are in (("query", "is"), ("headers", "are")):
        if not isinstance(request.get(key) or {}, Mapping):
            raise _no_request(f"its {key} {is_or_are} {_shown(request[key])}")
    return request


def _of_method(returned: Any) -> dict[str, Any]:
    """
    Check what the function has returned for ``api_method``.

    :raises TypeError: it is no request.
    """
    if not isinstance(returned, Mapping):
        raise _not_of_method(f"it returned {_shown(returned)}")
    if unknown := [key for key in returned if key not in METHOD_ARGUMENTS]:
        raise _not_of_method(f"it returned {unknown[0]!r}")
    return dict(returned)


def _no_request(found: str) -> TypeError:
    return TypeError(
        f"the function of @task.operation returns the request: a dict of {', '.join(REQUEST_ARGUMENTS)}, or path and "
        f"JSON body as a pair; {found}"
    )


def _not_of_method(found: str) -> TypeError:
    return TypeError(
        f"the function of @task.operation returns what 'api_method' is called with: a dict of "
        f"{', '.join(METHOD_ARGUMENTS)}; {found}"
    )


def _shown(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {repr(value)[:100]}"


def operation_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """
    Make a task that runs the operation which a function asks for.

    :param python_callable: returns the request.
    :param multiple_outputs: push each item of the operation's response as an XCom of its own; it isn't taken from the
        function's annotation, which is about the request.
    :param kwargs: arguments of ``RunOperationOperator``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=bool(multiple_outputs),
        decorated_operator_class=OperationDecoratedOperator,
        **kwargs,
    )
