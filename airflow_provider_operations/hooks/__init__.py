"""
Hooks for any service that speaks ``google.longrunning.Operations`` over REST.

What is asked is decided in ``_protocol.request``, how answers are read in ``_protocol.readers``, when to repeat in
``_protocol.retries``, when a wait is over in ``_protocol.outcome``; here it is sent, once with requests and once with
aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_operations.hooks.asynchronous import OperationsAsyncHook
    from airflow_provider_operations.hooks.sync import OperationsHook

__all__ = ["OperationsAsyncHook", "OperationsHook"]

_MODULES = {
    "OperationsAsyncHook": "airflow_provider_operations.hooks.asynchronous",
    "OperationsHook": "airflow_provider_operations.hooks.sync",
}


def __getattr__(name: str) -> Any:
    """Return a hook, imported only now: a worker needs neither, a triggerer one, and each loads much."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
