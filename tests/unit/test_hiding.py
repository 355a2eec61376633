"""What Airflow was told to mask doesn't come through, whatever stands beside it."""

from __future__ import annotations

import builtins
import io
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import airflow_provider_operations
from airflow_provider_operations._airflow.compat import mask_secret
from airflow_provider_operations._airflow.redaction import log_exception, without_secrets
from airflow_provider_operations._connection.fields import ConnectionFields
from airflow_provider_operations._connection.settings import read_settings
from airflow_provider_operations.hooks._base import secrets_of, to_mask

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


def raise_(error: Exception) -> None:
    raise error


class _Full(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler whose disk is full."""

    def flush(self) -> None:
        raise OSError("no space left on device")


@pytest.mark.parametrize("make", [logging.StreamHandler, _Full], ids=["ascii", "full"])
def test_a_handler_that_fails_shows_no_secret(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Python then prints the exception that is being handled on stderr, as it is."""
    mask_secret(SECRET)
    log = logging.getLogger("of-this-other-test")
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    log.addHandler(handler := make(written))
    try:
        raise_(ValueError(f"half a character \ud800 and {SECRET}"))
    except ValueError:
        log_exception(log, "can't ask for %s", SECRET)
    finally:
        log.removeHandler(handler)
    assert SECRET not in capsys.readouterr().err
    if make is logging.StreamHandler:
        written.seek(0)
        assert "ValueError: half a character \\xd800 and ***" in written.read()


@pytest.mark.parametrize("form", ["{}", "{!r}", "in a group"])
def test_a_private_key_is_hidden(form: str, caplog: pytest.LogCaptureFixture) -> None:
    """However its line breaks are written, and wherever it is cut."""
    group = getattr(builtins, "ExceptionGroup", None)  # since Python 3.11
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "private_key": key.decode()}
    fields = ConnectionFields(
        "ops", extra={"auth": "google", "keyfile_dict": account}, host="https://x.googleapis.com"
    )
    settings = read_settings(fields, {})
    mask_secret(to_mask(settings, secrets_of(settings)))
    problem = ValueError((form if "{" in form else "{}").format(key.decode()))
    try:
        raise_(group("some", [problem]) if group and form == "in a group" else problem)
    except Exception:  # noqa: BLE001  groups, too
        log_exception(logging.getLogger("of-this-test"), "can't be read")
    lines = key.decode().splitlines()[1:-1]
    assert not [line for line in lines if line in caplog.text and len(line) > 16]
    assert "***" in caplog.text


def test_an_exception_is_logged_where_no_thread_can_be_had(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong isn't hidden by that."""

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    try:
        raise_(KeyError("the problem"))
    except KeyError:
        log_exception(logging.getLogger("of-this-test"), "can't be read")
    assert "KeyError: 'the problem'" in caplog.text


@pytest.mark.parametrize("where", ["_sweep", "cli", "ui"])
def test_no_traceback_is_logged_as_it_is(where: str) -> None:
    """Airflow 3.3 masks the logs of tasks and triggers, and not those of its API server and of commands."""
    for path in (Path(airflow_provider_operations.__file__).parent / where).glob("*.py"):
        assert not re.search(r"log\.exception\(|exc_info", path.read_text()), path.name
