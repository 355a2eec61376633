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
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command, positive_int

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


_NAME = Arg(("name",), metavar="NAME", help="The operation, e.g. projects/p/locations/l/operations/o")
_SERVICE = (
    Arg(("--conn-id",), metavar="ID", default="operations_default", help="Connection; %(default)s"),
    Arg(("--base-url",), metavar="URL", help="Instead of the connection's host"),
    Arg(("--path-prefix",), metavar="PREFIX", help="Instead of the connection's, e.g. v1beta1"),
    Arg(
        ("-o", "--output"),
        choices=["table", "json", "yaml"],
        default="table",
        help="How the result is printed; table",
    ),
)
_POKE_INTERVAL = Arg(
    ("--poke-interval",),
    metavar="SECONDS",
    type=_seconds(1),
    default=10.0,
    help="Longest pause between polls, which begin at half a second; 10",
)


def _timeout(default: float | None, shown: str) -> Arg:
    return Arg(
        ("--timeout",),
        metavar="SECONDS",
        type=_seconds(0),
        default=default,
        help=f"How long to wait for the end; {shown}",
    )


def _command(name: str, help_: str, *args: Arg, description: str | None = None) -> ActionCommand:
    func = lazy_load_command(f"airflow_provider_operations.cli.commands.{name}")
    return ActionCommand(name, help_, func, (*args, *_SERVICE), description)


COMMANDS = (
    _command("get", "Show an operation", _NAME),
    _command(
        "list",
        "List operations",
        Arg(("parent",), nargs="?", default="", metavar="PARENT", help="E.g. projects/p/locations/l; none"),
        Arg(("--filter",), metavar="TEXT", help="In the service's filter language, e.g. done=false"),
        Arg(
            ("--page-size",), metavar="N", type=positive_int(allow_zero=False), help="Ask for so many at once"
        ),
        Arg(("--limit",), metavar="N", type=positive_int(allow_zero=False), help="List at most so many; all"),
    ),
    _command(
        "wait",
        "Wait until an operation is over",
        _NAME,
        _timeout(None, "without end"),
        _POKE_INTERVAL,
        description="Wait until an operation is over. "
        "Exit code 0: it succeeded, 1: it failed, 2: wrong usage, 3: no answer or a refusal, 4: time-out.",
    ),
    _command(
        "cancel",
        "Cancel an operation",
        _NAME,
        Arg(("--wait",), action="store_true", help="Wait until it is over"),
        _timeout(600.0, "600"),
        _POKE_INTERVAL,
    ),
    _command(
        "delete", "Tell the service that an operation's result is of no interest (doesn't cancel)", _NAME
    ),
)


def get_operations_cli_commands() -> list[CLICommand]:
    """Return the group ``operations``; Airflow calls this."""
    return [GroupCommand("operations", "Watch and cancel long-running operations", COMMANDS)]
