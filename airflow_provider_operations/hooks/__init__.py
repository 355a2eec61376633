"""
Hooks for any service that speaks ``google.longrunning.Operations`` over REST.

What is asked and how answers are read is decided in ``wire``, when to repeat in ``retries``, when a wait is over
in ``outcome``; here it is sent, once with requests and once with aiohttp.
"""

from airflow_provider_operations.hooks.asynchronous import OperationsAsyncHook
from airflow_provider_operations.hooks.sync import OperationsHook

__all__ = ["OperationsAsyncHook", "OperationsHook"]
