"""What the commands do: call the hook, print what it brought, turn what went wrong into an exit code."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._airflow.compat import TASKS_KEEP_STATE
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._google_apis.call import InvalidParameters, call_of
from airflow_provider_operations._google_apis.lookup import UnknownMethod
from airflow_provider_operations._google_apis.own import InvalidDocument
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.names import location_in
from airflow_provider_operations._protocol.outcome import Kind, Outcome, Watch, ending
from airflow_provider_operations._protocol.request import InvalidName, InvalidRequest
from airflow_provider_operations._protocol.request_values import InvalidRequestValue
from airflow_provider_operations.cli.errors import (
    ListTooLong,
    NoDatabase,
    NoRecords,
    NoService,
    OrphansLeft,
)
from airflow_provider_operations.cli.methods import (
    InvalidArgument,
    described,
    find,
    found,
    own_document,
    read_json,
    read_parameters,
)
from airflow_provider_operations.cli.output import FOR_PEOPLE, Output
from airflow_provider_operations.exceptions import (
    OperationFailed,
    OperationsCallError,
    OperationTimeout,
    error_of,
    error_of_call,
)
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    Action = Callable[[OperationsHook, Namespace, Output], None]

__all__ = ["cancel", "delete", "get", "list", "methods", "reap", "start", "test", "wait"]

OUTAGE_TOLERANCE_S = 600.0
"""How long a wait tolerates that the server doesn't answer, once it has answered."""

MAX_LISTED_CHARS = 64 * 2**20
"""Longest list, as JSON, that is kept to be printed."""


EXIT_CODES: dict[type[Exception], int] = {
    OperationFailed: 1,
    OrphansLeft: 1,
    InvalidArgument: 2,
    InvalidName: 2,
    InvalidParameters: 2,
    InvalidRequest: 2,
    InvalidRequestValue: 2,
    UnknownMethod: 2,
    InvalidConnection: 2,
    InvalidDocument: 2,
    AirflowNotFoundException: 2,
    NoRecords: 2,
    OperationsCallError: 3,
    ListTooLong: 3,
    NoService: 3,
    NoDatabase: 3,
    OperationTimeout: 4,
}
INTERNAL_ERROR, INTERRUPTED, NO_READER = 70, 130, 141


def _command(act: Action) -> Callable[[Namespace], NoReturn]:
    def act_by_hook(args: Namespace, out: Output) -> None:
        with _hook(args, _api_of(args)) as hook:
            act(hook, args, out)

    return functools.wraps(act)(_command_without_hook(act_by_hook))


def _command_without_hook(act: Callable[[Namespace, Output], None]) -> Callable[[Namespace], NoReturn]:
    @functools.wraps(act)
    def command(args: Namespace) -> NoReturn:
        sys.exit(_run(act, args))

    return command


def _run(act: Callable[[Namespace, Output], None], args: Namespace) -> int:
    # Without it Airflow 3 looks connections up as a task does: not in the database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    # Airflow 2 logs every connection that it looks up.
    logging.getLogger("airflow.hooks.base").setLevel(logging.WARNING)
    out = Output(args.output, sys.stdout, sys.stderr)
    try:
        with _results_alone_on_stdout():
            act(args, out)
    except tuple(EXIT_CODES) as error:
        out.note(str(error))
        return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except Exception:  # noqa: BLE001  its exit code must not be that of a failed operation
        out.note(traceback.format_exc().rstrip())
        return INTERNAL_ERROR
    return 0


@contextmanager
def _results_alone_on_stdout() -> Iterator[None]:
    """Send to stderr what others write to stdout, log handlers that hold on to it included."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stdout:
                handler.setStream(sys.stderr)
        yield


def _hook(args: Namespace, api: dict[str, Any]) -> OperationsHook:
    """
    Return a hook whose connection has been looked up.

    :param api: its arguments about an API of Google's.
    """
    hook = OperationsHook(args.conn_id, base_url=args.base_url, path_prefix=args.path_prefix, **api)
    try:
        hook.look_up()
    except tuple(EXIT_CODES):
        raise
    except Exception as error:
        raise InvalidConnection(
            f"connection {args.conn_id!r} can't be read: {type(error).__name__}: {error}"
        ) from error
    return hook


def _api_of(args: Namespace) -> dict[str, Any]:
    """Return the hook's arguments about an API of Google's."""
    about = getattr(args, "name", None) or getattr(args, "parent", None) or ""
    if args.api and args.api_document:
        raise InvalidArgument(
            "--api and --api-document exclude each other: a document says which API it is of"
        )
    own = own_document(args.api_document)
    return {"api": own or args.api, "endpoint": args.endpoint, "location": location_in(about)}


@_command_without_hook
def methods(args: Namespace, out: Output) -> None:
    """Search for methods of Google's that start an operation."""
    out.methods([described(method) for method in found(args.words, own_document(args.api_document))])


@_command_without_hook
def start(args: Namespace, out: Output) -> None:
    """Start an operation by a method of Google's; show it, or its end."""
    method = find(args.method, own_document(args.api_document))
    parameters, body = read_parameters(args.param or ()), read_json(args.json)
    api = {
        "api": method.document.as_argument,
        "endpoint": args.endpoint,
        "location": location_in(call_of(method, parameters, body).path),
        "scopes": method.scope,
    }
    with _hook(args, api) as hook:
        operation = hook.start_method(method, parameters=parameters, json=body)
        if not args.wait or operation.done or not operation.name:
            out.operation(operation)
            return
        args.name = operation.name
        out.note(f"{operation.name}: started")
        _show_end(hook, args, out)


@_command
def test(hook: OperationsHook, args: Namespace, out: Output) -> None:
    """Say whether the service answers; one that lists no operations does, too."""
    answers, said = hook.test_connection()
    if not answers:
        raise NoService(said)
    out.fields({"conn_id": args.conn_id, "answer": said})


@_command
def get(hook: OperationsHook, args: Namespace, out: Output) -> None:
    """Show an operation, whatever its state."""
    out.operation(hook.get_operation(args.name))


@_command
def list(hook: OperationsHook, args: Namespace, out: Output) -> None:  # noqa: A001  the command's name
    """List operations, once all of them have come."""
    found = hook.list_operations(args.parent, args.filter, args.page_size)
    listed, chars = [], 0
    for operation in itertools.islice(found, args.limit):
        listed.append(operation)
        chars += len(json.dumps(operation.to_json()))
        if chars > MAX_LISTED_CHARS:
            raise ListTooLong(
                f"more than {MAX_LISTED_CHARS // 2**20} MiB of operations are listed; give --limit or --filter"
            )
    out.operations(listed)


@_command
def wait(hook: OperationsHook, args: Namespace, out: Output) -> None:
    """Wait for the end, show it; an error is what the command fails with."""
    _show_end(hook, args, out)


def _show_end(hook: OperationsHook, args: Namespace, out: Output) -> None:
    outcome = _outcome(hook, args, out)
    error = error_of(outcome, final=lambda _: False, note="it goes on")
    operation = outcome.operation
    # For people the error alone: it holds everything.
    if operation is not None and operation.done and (error is None or args.output not in FOR_PEOPLE):
        out.operation(operation)
    if error is not None:
        raise error


@_command
def cancel(hook: OperationsHook, args: Namespace, out: Output) -> None:
    """Ask for the cancellation; say how the operation ended, if it has."""
    failure = hook.cancel_unless_over(args.name)
    if failure is not None:
        raise error_of_call(failure, args.name)
    if args.wait:
        outcome = _outcome(hook, args, out)
        if outcome.kind is not Kind.DONE:
            note = "it has been asked to cancel"
            raise error_of(outcome, final=lambda _: False, note=note) or AssertionError(outcome)
        seen = outcome.operation
    else:
        polled = hook.poll(args.name)
        seen = polled if isinstance(polled, Operation) and polled.done else None
    ended = ending(seen) if seen else None
    out.fields({"name": args.name, "ended": ended}, unknown="not yet; asked to cancel")


@_command_without_hook
def reap(args: Namespace, out: Output) -> None:
    """Cancel operations that no task waits for any more; say which there are."""
    if not TASKS_KEEP_STATE:
        raise NoRecords(
            "Airflow keeps no state of tasks before version 3.3, so nothing says which operations no task waits for"
        )
    from airflow_provider_operations.cli.reap import sweep, sweep_again_and_again

    if args.every is None:
        sweep(out, dry_run=args.dry_run)
    else:
        sweep_again_and_again(out, args.every, dry_run=args.dry_run)


@_command
def delete(hook: OperationsHook, args: Namespace, out: Output) -> None:
    """Have the service forget an operation."""
    hook.delete_operation(args.name)
    out.fields({"name": args.name, "deleted": True})


def _outcome(hook: OperationsHook, args: Namespace, out: Output) -> Outcome:
    """
    Wait for the end and show how it gets on.

    The first answer must come, as with every command; only later outages are tolerated.
    """
    watch = Watch.from_now(args.name, args.poke_interval, args.timeout, OUTAGE_TOLERANCE_S)
    try:
        with out.progress(args.name) as show:
            verdict = watch.judge(hook.get_operation(args.name), clock.now())
            show(watch)
            return verdict if isinstance(verdict, Outcome) else hook.watch(watch, on_poll=show)
    except KeyboardInterrupt:
        out.note(f"No longer waiting. Operation {args.name} goes on.")
        raise
