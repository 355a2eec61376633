"""What Airflow was told to mask doesn't come through, whatever stands beside it."""

from __future__ import annotations

import pytest

from airflow_provider_operations._airflow.compat import mask_secret
from airflow_provider_operations._airflow.redaction import without_secrets

SECRET = "a-t0ken-of-this-test"


@pytest.mark.parametrize("beside", ["", "\ud800", "\udfff \ud800\ud800", "\U0001f600", "\x00\x1b[1m"])
def test_only_the_secret_is_gone(beside: str) -> None:
    """In text and JSON, also beside what is no Unicode text."""
    mask_secret(SECRET)
    value = {"message": f"{beside}not with {SECRET}{beside}", "more": [f"{SECRET}", 7, None]}

    assert without_secrets(value) == {"message": f"{beside}not with ***{beside}", "more": ["***", 7, None]}
