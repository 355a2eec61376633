"""``python -m airflow_provider_operations``: the commands for Airflow versions that don't ask providers for any."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

with redirect_stdout(sys.stderr):  # Airflow may have something to say while it is imported
    from airflow_provider_operations.cli.definition import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; ends with ``SystemExit``."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_operations", description="Watch and cancel long-running operations."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(
            command.name, help=command.help, description=command.description or command.help
        )
        for arg in command.args:
            arg.add_to_parser(one)
        one.set_defaults(func=command.func)
    args = parser.parse_args(argv)
    args.func(args)


if __name__ == "__main__":
    main()
