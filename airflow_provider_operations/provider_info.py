"""What Airflow's provider manager reads (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations import __version__

_INTEGRATION = "Long-Running Operations"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata; its shape is ``airflow/provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-operations",
        "name": _INTEGRATION,
        "description": "Any ``google.longrunning`` operation over REST (`AIP-151 <https://google.aip.dev/151>`__) "
        "as an ordinary Airflow task.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://google.aip.dev/151",
                "tags": ["protocol"],
            }
        ],
        "hooks": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_operations.hooks"]}
        ],
        "triggers": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_operations.triggers"]}
        ],
        "sensors": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_operations.sensors"]}
        ],
        "operators": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_operations.operators"]}
        ],
        "connection-types": [
            {
                "connection-type": "operations",
                "hook-class-name": "airflow_provider_operations.hooks.OperationsHook",
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {"schema": "Scheme", "password": "Password or token"},
                    "placeholders": {
                        "host": "cloudbuild.googleapis.com",
                        "schema": "https",
                        "port": "443",
                        "login": "empty: the password is a bearer token",
                    },
                },
                "conn-fields": _CONN_FIELDS,
            }
        ],
    }


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


_CONN_FIELDS = {
    "path_prefix": _field(
        "Path prefix", "Between host and operation name: v1, v1beta1, v1/admin. Default v1."
    ),
    "cancel_suffix": _field("Cancel suffix", "Appended to the name to cancel: :cancel (default) or /cancel."),
    "cancel_method": _field("Cancel method", "HTTP method of the cancel call. Default POST."),
    "error_format": _field(
        "Error format", "1 or 2: ask for Google's error bodies of this format. Not asked."
    ),
    "headers": _field(
        "Headers", 'JSON object of headers sent with every request: {"X-Goog-User-Project": "my-project"}.'
    ),
    "timeout": _field("Timeout", "Seconds for one request. Default 30.", type=["number", "null"]),
    "verify": _field("Verify TLS", "true (default), false, or the path of a CA bundle."),
    "proxies": _field("Proxies", "A proxy URL, or a JSON object of scheme and proxy URL."),
    "console_url": _field(
        "Console URL", "Page about an operation, for people: https://console.example.com/operations/{name}."
    ),
    "allowed_hosts": _field(
        "Allowed hosts", "Other hosts that tasks may send to by base_url: a.example.com, *.googleapis.com."
    ),
}
