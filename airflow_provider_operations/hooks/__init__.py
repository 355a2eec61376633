"""
Hooks for any service that speaks ``google.longrunning.Operations`` over REST.

What is asked is decided in ``_protocol.request``, how answers are read in ``_protocol.readers``, when to repeat in
``_protocol.retries``, when a wait is over in ``_protocol.outcome``; here it is sent, once with requests and once with
aiohttp.
"""

from airflow_provider_operations.hooks.asynchronous import OperationsAsyncHook
from airflow_provider_operations.hooks.sync import OperationsHook

__all__ = ["OperationsAsyncHook", "OperationsHook"]
