"""What others said, without the secrets that Airflow knows of."""

from __future__ import annotations

import contextvars
import re
import threading
import traceback
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.compat import redact
from airflow_provider_operations._protocol.rendering import each_text, printable

if TYPE_CHECKING:
    import logging

__all__ = ["log_exception", "without_secrets"]


def without_secrets(value: Any) -> Any:
    """
    Hide what Airflow was told to mask: its values, not fields by name, as others' fields aren't our secrets.

    :param value: text or JSON.
    """
    return each_text(redact, value)


def log_exception(log: logging.Logger, text: str, *values: Any) -> None:
    """
    Log the exception that is being handled, as ``log.exception`` does, but without secrets.

    Airflow 3.3 masks the logs of tasks and triggers; that of its API server and of commands it doesn't.
    """
    # Without the margin of exception groups, which would stand within a secret of several lines.
    shown = _MARGIN.sub("", traceback.format_exc())
    said = without_secrets(printable(f"{text % values}\n{shown}")).rstrip()
    # In another thread no exception is being handled. Here a handler that fails would show this one on stderr.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(log.error, "%s", said))
    try:
        thread.start()
    except RuntimeError:  # there are too many
        log.error("%s", said)  # noqa: TRY400
    else:
        thread.join()


_MARGIN = re.compile(r"^ *\| ?", re.MULTILINE)
