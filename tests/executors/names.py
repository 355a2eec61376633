"""What a process calls the machine that it runs on: several of ours share one."""

from __future__ import annotations

import os
import socket


def hostname() -> str:
    """Return the name that the cluster gave to the process (Airflow's ``[core] hostname_callable``)."""
    return os.environ.get("OPERATIONS_TEST_HOST", socket.gethostname())
