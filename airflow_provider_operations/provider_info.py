"""What Airflow's provider manager reads (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations import __version__
from airflow_provider_operations._connection.extras import EXTRAS

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
                # Paths in the repository, as Airflow's own providers give theirs.
                "how-to-guide": ["/docs/howto.md", "/docs/recipes.md"],
                "logo": "/docs/integration-logos/operations.svg",
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
        "task-decorators": [
            {"name": "operation", "class-name": "airflow_provider_operations.decorators.operation_task"}
        ],
        "extra-links": ["airflow_provider_operations.links.OperationLink"],
        "operators": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_operations.operators"]}
        ],
        "plugins": [
            {
                "name": "airflow_provider_operations",
                "plugin-class": "airflow_provider_operations.ui.plugin.OperationsPlugin",
            }
        ],
        "cli": ["airflow_provider_operations.cli.definition.get_operations_cli_commands"],
        "connection-types": [
            {
                "connection-type": "operations",
                "hook-class-name": "airflow_provider_operations.hooks.OperationsHook",
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {
                        "schema": "Scheme",
                        "login": "Login or client id",
                        "password": "Password, token or client secret",
                    },
                    "placeholders": {
                        "host": "cloudbuild.googleapis.com",
                        "schema": "https",
                        "port": "443",
                        "login": "empty: the password is a bearer token",
                    },
                },
                "conn-fields": EXTRAS,
            }
        ],
    }
