"""
Which commands there are and what they take; provider metadata ``cli``.

Every ``airflow`` command loads this module, so it imports only what ``airflow`` has loaded by then.
"""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

import airflow  # noqa: F401  sets up what warnings go through, which the next block isn't to undo

with warnings.catch_warnings():
    # Airflow would log it on stdout, on Python 3.14, as each of its own commands does.
    warnings.filterwarnings("ignore", "FileType is deprecated", PendingDeprecationWarning)
    from airflow.cli.cli_config import (
        ARG_OUTPUT,
        ActionCommand,
        Arg,
        GroupCommand,
        lazy_load_command,
        positive_int,
    )

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.cli.cli_config import CLICommand

__all__ = ["COMMANDS", "get_operations_cli_commands"]


def _seconds(least: float) -> Callable[[str], float]:
    def seconds(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not least <= number < 1e9:
            raise argparse.ArgumentTypeError(f"seconds from {least:g} on, not {value!r}")
        return number

    return seconds


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: str) -> float:
    """Read ``300``, ``300s``, ``5m`` or ``1h``; five seconds at least."""
    unit = _UNITS.get(value[-1:])
    try:
        return _seconds(5)(str(float(value[:-1]) * unit) if unit else value)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"a time such as 300, 300s, 5m or 1h, of 5 s at least, not {value!r}"
        ) from None


_NAME = Arg(("name",), metavar="NAME", help="The operation's name, e.g. projects/p/locations/l/operations/o")
_SERVICE = (
    Arg(
        ("--conn-id",),
        metavar="CONN_ID",
        default="operations_default",
        help="The connection to the service (default: %(default)s)",
    ),
    Arg(("--base-url",), metavar="URL", help="Where the service is (default: the connection's host)"),
    Arg(
        ("--path-prefix",),
        metavar="PREFIX",
        help="What stands before names in paths, e.g. v1beta1 (default: the connection's)",
    ),
    Arg(
        ("--endpoint",),
        metavar="KIND",
        choices=("regional",),  # ENDPOINTS, whose module all of Airflow's commands would import
        help="regional: the address of the location, of an API of Google's that has one (default: the usual one)",
    ),
    ARG_OUTPUT,
)
_API = Arg(
    ("--api",),
    metavar="API",
    help="An API of Google's, e.g. file or file:v1: host and path prefix are looked up where nothing says them (default: none)",
)
_API_DOCUMENT = Arg(
    ("--api-document",),
    metavar="FILE",
    help="An API document of your own, in which the API and its methods are looked up (default: those of the package)",
)
_POKE_INTERVAL = Arg(
    ("--poke-interval",),
    metavar="SECONDS",
    type=_seconds(1),
    default=10.0,
    help="The longest pause between polls, which begin at half a second (default: %(default)g)",
)


def _timeout(default: float | None, shown: str = "%(default)g") -> Arg:
    return Arg(
        ("--timeout",),
        metavar="SECONDS",
        type=_seconds(0),
        default=default,
        help=f"How long to wait for the end (default: {shown})",
    )


def _command(name: str, help_: str, *args: Arg, description: str | None = None) -> ActionCommand:
    return _bare_command(name, help_, *args, _API, _API_DOCUMENT, *_SERVICE, description=description)


def _bare_command(name: str, help_: str, *args: Arg, description: str | None = None) -> ActionCommand:
    func = lazy_load_command(f"airflow_provider_operations.cli.commands.{name}")
    return ActionCommand(name, help_, func, args, description)


COMMANDS = (
    _command(
        "test",
        "Ask whether the service answers",
        description="Ask whether the service answers and takes the connection's credentials. It is asked for a list of "
        "operations; one that has no list answers, too. Exit code 0: it answers, 3: it doesn't, or refuses.",
    ),
    _bare_command(
        "methods",
        "Search for methods of Google's that start an operation",
        Arg(
            ("words",),
            nargs="*",
            metavar="WORD",
            help="What their ids have in them, e.g. file instances create",
        ),
        _API_DOCUMENT,
        ARG_OUTPUT,
        description="Search for methods of Google's that start an operation. One that is found alone is shown with its "
        "parameters and its documentation; of several, a list is shown.",
    ),
    _bare_command(
        "start",
        "Start an operation by a method of Google's",
        Arg(
            ("method",),
            metavar="METHOD",
            help="The method's id, e.g. file.projects.locations.instances.create; with a version, file:v1.projects...",
        ),
        Arg(
            ("--param",),
            metavar="NAME=VALUE",
            action="append",
            help="A parameter of path or query; may be given several times (default: none)",
        ),
        Arg(("--json",), metavar="JSON", help="The body, or @FILE that holds it (default: none)"),
        Arg(("--wait",), action="store_true", help="Wait until it is over, and show how it ended"),
        _timeout(None, "for ever"),
        _POKE_INTERVAL,
        _API_DOCUMENT,
        *_SERVICE,
        description="Start an operation by a method of Google's. With --wait the exit code is that of wait.",
    ),
    _command("get", "Show an operation", _NAME),
    _command(
        "list",
        "List operations",
        Arg(
            ("parent",),
            nargs="?",
            default="",
            metavar="PARENT",
            help="What the operations are under, e.g. projects/p/locations/l (default: the service's root)",
        ),
        Arg(
            ("--filter",),
            metavar="TEXT",
            help="Which of them, in the service's filter language, e.g. done=false (default: all)",
        ),
        Arg(
            ("--page-size",),
            metavar="N",
            type=positive_int(allow_zero=False),
            help="How many to ask for in one request (default: as many as the service likes)",
        ),
        Arg(
            ("--limit",),
            metavar="N",
            type=positive_int(allow_zero=False),
            help="How many to list at most (default: all)",
        ),
    ),
    _command(
        "wait",
        "Wait until an operation is over",
        _NAME,
        _timeout(None, "for ever"),
        _POKE_INTERVAL,
        description="Wait until an operation is over. "
        "Exit code 0: it succeeded, 1: it failed, 2: wrong usage, 3: no answer or a refusal, 4: time-out.",
    ),
    _command(
        "cancel",
        "Cancel an operation",
        _NAME,
        Arg(("--wait",), action="store_true", help="Wait until it is over, and say how it ended"),
        _timeout(600.0),
        _POKE_INTERVAL,
    ),
    _bare_command(
        "reap",
        "Cancel operations that no task waits for any more (Airflow 3.3 or later)",
        Arg(("--dry-run",), action="store_true", help="Only say which they are; cancel and note nothing"),
        Arg(
            ("--every",),
            metavar="TIME",
            type=_duration,
            default=None,
            help="Go on for ever, with a sweep every so often, e.g. 5m (default: one sweep)",
        ),
        ARG_OUTPUT,
        description="Find operations by the records of tasks that are over, look whether they run, and cancel those that "
        "no task waits for any more. Several may do so at once. Exit code 0: none is left, 1: some run on, or may, "
        "2: this Airflow has no records that can be read, 3: its database doesn't answer.",
    ),
    _command(
        "delete", "Tell the service that an operation's result is of no interest (doesn't cancel)", _NAME
    ),
)


def get_operations_cli_commands() -> list[CLICommand]:
    """Return the group ``operations``; Airflow calls this."""
    return [GroupCommand("operations", "Watch and cancel long-running operations", COMMANDS)]
