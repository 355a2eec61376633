"""
Load what a task's process imports for operations, before Airflow forks it.

Airflow starts a process for each stay of a task in a worker, by a fork of one that lives on. What is imported before
that fork isn't imported again in each of them. In ``airflow_local_settings.py``, which every process of Airflow loads::

    import airflow_provider_operations.preload

It starts no thread and opens no file or connection. What is optional (google-auth, authlib) isn't loaded. For what it
saves, and the memory that it takes, see docs/deployment.md.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["MODULES"]

MODULES = (
    "airflow_provider_operations.operators",
    "airflow_provider_operations.sensors",
    "airflow_provider_operations.decorators",
    "airflow_provider_operations.retry_policies",
    "airflow_provider_operations.triggers",
    "airflow_provider_operations.hooks.worker",
)
"""What is imported, with all that it imports itself."""

# Python that imports our operators before Airflow comes here in the midst of that, as our first import of Airflow loads
# its local settings: it has what it wants in a moment, and our modules can't be imported twice.
_in_the_midst = any(
    name.startswith(f"{__package__}.")
    and name != __name__
    and getattr(getattr(module, "__spec__", None), "_initializing", False)
    for name, module in sys.modules.copy().items()
)

for _module in () if _in_the_midst else MODULES:
    import_module(_module)
