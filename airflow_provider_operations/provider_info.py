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
                "conn-fields": _CONN_FIELDS,
            }
        ],
    }


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


_CONN_FIELDS = {
    "auth": _field(
        "Credentials",
        "none, basic, bearer, google or oauth2. Empty: what is filled in.",
        enum=["none", "basic", "bearer", "google", "oauth2"],
    ),
    "scope": _field("Scopes", "google and oauth2: with commas or spaces between. google: cloud-platform."),
    "keyfile_dict": _field("Google key", "google: JSON of a key or an external account.", format="password"),
    "key_path": _field("Google key file", "google: a file of it. Neither: Application Default Credentials."),
    "impersonation_chain": _field(
        "Impersonation chain", "google: service accounts, commas between; the last is the one to be."
    ),
    "quota_project": _field("Quota project", "google: the project that the calls are billed to."),
    "gcp_conn_id": _field(
        "Google Cloud connection", "google: take the credentials of this connection (Google provider)."
    ),
    "token_url": _field("Token URL", "oauth2: where tokens are got with client id and secret."),
    "audience": _field("Audience", "oauth2: whom the token is for."),
    "token_endpoint_auth_method": _field(
        "Client authentication", "oauth2: client_secret_basic (default) or client_secret_post."
    ),
    "path_prefix": _field(
        "Path prefix", "Between host and operation name: v1, v1beta1, v1/admin. Default v1."
    ),
    "cancel_suffix": _field("Cancel suffix", "Appended to the name to cancel: :cancel (default) or /cancel."),
    "cancel_method": _field("Cancel method", "HTTP method of the cancel call. Default POST."),
    "error_format": _field(
        "Error format", "1 or 2: ask for Google's error bodies of this format. Not asked."
    ),
    "wait_timeout_in": _field(
        "Wait timeout in", "query (default) or body: where the service reads the timeout of a wait."
    ),
    "headers": _field(
        "Headers", 'JSON object of headers sent with every request: {"X-Goog-User-Project": "my-project"}.'
    ),
    "timeout": _field("Timeout", "Seconds for one request. Default 30.", type=["number", "null"]),
    "verify": _field("Verify TLS", "true (default), false, or the path of a CA bundle."),
    "cert": _field(
        "Client certificate", "A PEM file with certificate and key, or two files with a comma between."
    ),
    "proxies": _field("Proxies", "A proxy URL, or a JSON object of scheme and proxy URL."),
    "console_url": _field(
        "Console URL",
        "Page about an operation: https://console.example.com/{name}. Also {project}, {location}, {operation_id}.",
    ),
    "max_connections": _field(
        "Connections",
        "Requests that a triggerer has under way at once. Default 16.",
        type=["integer", "null"],
    ),
    "max_requests_per_second": _field(
        "Requests per second", "Of a triggerer. Default: what the server accepts.", type=["number", "null"]
    ),
    "poll_with": _field("Poll with", "get (default), list or wait.", enum=["get", "list", "wait", None]),
    "list_filter": _field("List filter", "For list. Default done=false; none: no filter."),
    "allowed_hosts": _field(
        "Allowed hosts", "Other hosts that tasks may send to by base_url: a.example.com, *.googleapis.com."
    ),
}
