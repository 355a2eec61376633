"""``python -m airflow_provider_operations.emulator``: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .protocol import log
from .server import Server, bind, is_loopback, url_of
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulator and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_operations.emulator",
        description="A local server of google.longrunning.Operations over REST, for demos and tests.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free port")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the state in this SQLite file")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port there once it listens")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen on other interfaces than loopback: anyone there can read the journal, tokens included",
    )
    parser.add_argument("--quiet", action="store_true", help="print no line for each request")
    args = parser.parse_args(argv)
    if not is_loopback(args.host) and not args.allow_remote:
        parser.error(f"{args.host} is not a loopback address; --allow-remote serves it all the same")
    log.addHandler(logging.StreamHandler())  # stderr
    log.handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.setLevel(logging.WARNING if args.quiet else logging.INFO)
    try:
        return _serve(args.host, args.port, args.state, args.port_file)
    except (OSError, OverflowError, sqlite3.Error) as exc:
        print(f"operations emulator: {exc}", file=sys.stderr)
        return 1


def _serve(host: str, port: int, state: Path | None, port_file: Path | None) -> int:
    if port_file is not None:
        port_file.unlink(missing_ok=True)
    with bind(host, port) as listener:
        url = url_of(listener)

        def announce() -> None:
            if port_file is not None:
                written = port_file.with_name(f".{port_file.name}.{os.getpid()}")
                written.write_text(url.rpartition(":")[2] + "\n")
                written.replace(port_file)
            print(f"operations emulator listening on {url}", flush=True)

        server = Server(Store(state), time.time, announce)

        def end(_signal: int, _frame: object) -> None:
            server.should_exit = True

        # uvicorn has handlers of its own while it serves, and repeats the signal for ours at the end.
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        asyncio.run(server.serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
