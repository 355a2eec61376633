"""The connection's form, as Airflow's API hands it to the browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.api_fastapi.core_api.datamodels.connections import ConnectionResponse
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

from airflow_provider_operations._connection.settings import ConnectionFields, read_settings


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    """The form's fields for ``extra``, in their order."""
    (form,) = (meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "operations")
    return dict(form.extra_fields or {})


def test_fields_come_in_groups(fields: dict[str, Any]) -> None:
    """Each has a section, and those of a section stand together: the browser makes a group of each."""
    sections = [field["schema"]["section"] for field in fields.values()]
    grouped = [
        section for section, before in zip(sections, [None, *sections], strict=False) if section != before
    ]
    assert grouped == [
        "Credentials",
        "Credentials: Google",
        "Credentials: OAuth 2",
        "How the service spells its calls",
        "Requests",
        "Polling by triggerers",
    ]


def test_help_texts_are_sentences(fields: dict[str, Any]) -> None:
    """They begin with a capital, a number or a name, end with a full stop, and begin with no other field's value."""
    for name, field in fields.items():
        said = field["description"]
        assert said.endswith("."), name
        assert said[0].isupper() or said[0].isdigit(), name
        assert not said.startswith(("google:", "oauth2:")), name


def test_no_choice_is_called_null(fields: dict[str, Any]) -> None:
    """Nothing chosen is an empty field, not the choice ``null``."""
    choices = {name: field["schema"].get("enum") for name, field in fields.items()}
    assert choices["poll_with"] == ["get", "list", "wait"]
    assert all(None not in enum for enum in choices.values() if enum)
    assert all(field["value"] is None for field in fields.values())


def test_who_edits_it_reads_all_but_secrets(fields: dict[str, Any]) -> None:
    """Airflow hides fields by their name; where tokens are got is no secret, so it has no "token" in it."""
    extra = json.dumps(dict.fromkeys(fields, "shown"))
    connection = dict.fromkeys(ConnectionResponse.model_fields) | {
        "conn_id": "c",
        "conn_type": "operations",
        "schema": None,
        "extra": extra,
    }
    told = json.loads(ConnectionResponse.model_validate(connection).extra or "")
    assert {name for name, value in told.items() if value != "shown"} == {"keyfile_dict", "proxies"}


def test_what_may_be_a_secret_is_typed_masked(fields: dict[str, Any]) -> None:
    """A key and the headers, which may have an Authorization among them."""
    masked = {name for name, field in fields.items() if field["schema"].get("format") == "password"}
    assert masked == {"keyfile_dict", "headers"}


def test_the_form_has_what_a_connection_reads(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """No field of it is an unknown extra."""
    extra = dict.fromkeys(fields)
    read_settings(ConnectionFields("c", host="operations.example.com", extra=extra), {})
    assert caplog.messages == []
