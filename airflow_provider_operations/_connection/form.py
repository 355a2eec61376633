"""
The connection's form by hook methods, for Airflow before 3.2; later ones read it from the provider's metadata.

Its fields are those of the metadata, so there is one list of them.
"""

from __future__ import annotations

import importlib
from typing import Any

from airflow_provider_operations.provider_info import get_provider_info

__all__ = ["get_connection_form_widgets", "get_ui_field_behaviour"]


def get_connection_form_widgets() -> dict[str, Any]:
    """Return the fields of ``extra``; 2.11 shows them with Flask AppBuilder, 3.0 and 3.1 read them off stand-ins."""
    try:
        widgets: Any = importlib.import_module("flask_appbuilder.fieldwidgets")
        gettext: Any = importlib.import_module("flask_babel").lazy_gettext
        wtforms: Any = importlib.import_module("wtforms")
    except ImportError:  # 3.0 without the FAB provider, where it asks for labels only if WTForms is there
        return {}

    def field(shown: dict[str, Any]) -> Any:
        schema = shown["schema"]
        arguments = {"description": shown["description"], "validators": [wtforms.validators.Optional()]}
        if schema.get("format") == "password":
            return wtforms.PasswordField(
                gettext(shown["label"]), widget=widgets.BS3PasswordFieldWidget(), **arguments
            )
        kind = wtforms.IntegerField if "integer" in schema["type"] else wtforms.StringField
        return kind(gettext(shown["label"]), widget=widgets.BS3TextFieldWidget(), **arguments)

    return {name: field(shown) for name, shown in _connection_type()["conn-fields"].items()}


def get_ui_field_behaviour() -> dict[str, Any]:
    """Return how the standard fields are labelled."""
    behaviour = _connection_type()["ui-field-behaviour"]
    return {name.replace("-", "_"): value for name, value in behaviour.items()}


def _connection_type() -> dict[str, Any]:
    (one,) = get_provider_info()["connection-types"]
    return dict(one)
