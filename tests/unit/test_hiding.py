"""What Airflow was told to mask doesn't come through, whatever stands beside it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import airflow_provider_operations
from airflow_provider_operations._airflow.compat import mask_secret
from airflow_provider_operations._airflow.redaction import log_exception, without_secrets

SECRET = "a-t0ken-of-this-test"


@pytest.mark.parametrize("beside", ["", "\ud800", "\udfff \ud800\ud800", "\U0001f600", "\x00\x1b[1m"])
def test_only_the_secret_is_gone(beside: str) -> None:
    """In text and JSON, also beside what is no Unicode text."""
    mask_secret(SECRET)
    value = {"message": f"{beside}not with {SECRET}{beside}", "more": [f"{SECRET}", 7, None]}

    assert without_secrets(value) == {"message": f"{beside}not with ***{beside}", "more": ["***", 7, None]}


def test_an_exception_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback and what led to it, too."""
    mask_secret(SECRET)
    try:
        try:
            dict[str, str]()[SECRET]
        except KeyError as error:
            raise ValueError(f"with {SECRET}") from error
    except ValueError:
        log_exception(logging.getLogger("of-this-test"), "can't ask for %s", "x")
    assert SECRET not in caplog.text
    assert "can't ask for x\nTraceback" in caplog.text
    assert "KeyError: '***'" in caplog.text
    assert "ValueError: with ***" in caplog.text


@pytest.mark.parametrize("where", ["_sweep", "cli", "ui"])
def test_no_traceback_is_logged_as_it_is(where: str) -> None:
    """Airflow 3.3 masks the logs of tasks and triggers, and not those of its API server and of commands."""
    for path in (Path(airflow_provider_operations.__file__).parent / where).glob("*.py"):
        assert not re.search(r"log\.exception\(|exc_info", path.read_text()), path.name
