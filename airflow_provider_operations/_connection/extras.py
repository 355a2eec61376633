"""The table of a connection's extras: what the form shows, what is known, and which credentials a field belongs to."""

from __future__ import annotations

from typing import Any

__all__ = ["EXTRAS", "GOOGLE_EXTRAS", "KNOWN_EXTRAS", "OAUTH2_EXTRAS", "STANDARD_NAMES"]


def _field(section: str, label: str, description: str, **schema: Any) -> dict[str, Any]:
    schema = {"type": ["string", "null"], "section": section, **schema}
    return {"label": label, "description": description, "schema": schema}


_CREDENTIALS, _GOOGLE, _OAUTH2 = "Credentials", "Credentials: Google", "Credentials: OAuth 2"
_SPELLING, _REQUESTS, _POLLING = "How the service spells its calls", "Requests", "Polling by triggerers"

# Airflow hides the values of fields whose name has "token" and the like in it: those that are no secret must not be
# called so, or nobody who edits the connection can read them.
EXTRAS: dict[str, dict[str, Any]] = {
    "auth": _field(
        _CREDENTIALS,
        "Credentials",
        "How requests are authenticated. Left empty, the fields that are filled in tell.",
        enum=["none", "basic", "bearer", "google", "oauth2"],
    ),
    "headers": _field(
        _CREDENTIALS,
        "Headers",
        'A JSON object of headers that every request is sent with, e.g. {"X-Goog-User-Project": "my-project"}.',
        format="password",
    ),
    "scope": _field(
        _CREDENTIALS,
        "Scopes",
        "What tokens of google or oauth2 are for, with commas or spaces between. The default of google is "
        "cloud-platform.",
    ),
    "keyfile_dict": _field(
        _GOOGLE,
        "Key",
        "The JSON of a service account's key, or of an external account's configuration.",
        format="password",
    ),
    "key_path": _field(
        _GOOGLE,
        "Key file",
        "A file that holds such a JSON, on workers, triggerers and API servers. Without a key and without a file, "
        "Application Default Credentials are used.",
    ),
    "impersonation_chain": _field(
        _GOOGLE,
        "Impersonation chain",
        "Service accounts, with commas between. The last is the one to be, the others pass the right along.",
    ),
    "quota_project": _field(_GOOGLE, "Quota project", "The project that the calls are billed to."),
    "gcp_conn_id": _field(
        _GOOGLE,
        "Google Cloud connection",
        "The id of a connection of the Google provider whose credentials are used instead.",
    ),
    "oauth2_url": _field(
        _OAUTH2, "Token URL", "Where tokens are got with login and password, as client id and client secret."
    ),
    "audience": _field(_OAUTH2, "Audience", "Whom the tokens are for, where the server asks for it."),
    "oauth2_client_auth": _field(
        _OAUTH2,
        "Client authentication",
        "How client id and secret are sent to the token URL. The default is client_secret_basic.",
        enum=["client_secret_basic", "client_secret_post"],
    ),
    "path_prefix": _field(
        _SPELLING,
        "Path prefix",
        "What stands between the host and an operation's name, such as v1beta1 or v1/admin. The default is v1.",
    ),
    "cancel_suffix": _field(
        _SPELLING,
        "Cancel suffix",
        "What is appended to the name to cancel, such as /cancel. The default is :cancel.",
    ),
    "cancel_method": _field(
        _SPELLING, "Cancel method", "The HTTP method of the cancel call. The default is POST."
    ),
    "error_format": _field(
        _SPELLING,
        "Error format",
        "1 or 2, to ask Google's services for error bodies of this format. Left empty, none is asked for.",
    ),
    "wait_timeout_in": _field(
        _SPELLING,
        "Timeout of wait in",
        "Where the service reads the timeout of a wait call. The default is query.",
        enum=["query", "body"],
    ),
    "console_url": _field(
        _SPELLING,
        "Console URL",
        "The page about an operation, e.g. https://console.example.com/{name}. It may have {project}, {location} and "
        "{operation_id} in it, too.",
    ),
    "timeout": _field(
        _REQUESTS,
        "Timeout",
        "How many seconds one request may take as a whole. The default is 30.",
        type=["number", "null"],
    ),
    "verify": _field(
        _REQUESTS,
        "Verify TLS",
        "Whether the server's certificate is checked: true, false, or the path of a CA bundle. The default is true.",
    ),
    "cert": _field(
        _REQUESTS,
        "Client certificate",
        "A PEM file that holds certificate and key, or two files with a comma between.",
    ),
    "proxies": _field(
        _REQUESTS, "Proxies", "The URL of a proxy, or a JSON object of schemes and their proxies' URLs."
    ),
    "allowed_hosts": _field(
        _REQUESTS,
        "Allowed hosts",
        "Other hosts that tasks may name in base_url, with commas between, e.g. a.example.com, *.googleapis.com.",
    ),
    "poll_with": _field(
        _POLLING,
        "Poll with",
        "How triggerers ask for operations. The default is get.",
        enum=["get", "list", "wait"],
    ),
    "list_filter": _field(
        _POLLING,
        "List filter",
        "The filter of list requests, in the service's own words. The default is done=false; none stands for no "
        "filter.",
    ),
    "max_connections": _field(
        _POLLING,
        "Connections",
        "How many requests a triggerer has under way at once. The default is 16.",
        type=["integer", "null"],
    ),
    "max_requests_per_second": _field(
        _POLLING,
        "Requests per second",
        "How many requests a triggerer makes in a second. The default is what the server accepts.",
        type=["number", "null"],
    ),
}
"""By section, in the order in which the form shows them: label, description and JSON schema of the value."""

STANDARD_NAMES = {"oauth2_url": "token_url", "oauth2_client_auth": "token_endpoint_auth_method"}
"""The standard's names of fields (RFC 6749, RFC 7591), which are read as well; the form would show their values to nobody."""

KNOWN_EXTRAS = frozenset({*EXTRAS, *STANDARD_NAMES.values()})


def _of(section: str) -> frozenset[str]:
    fields = {name for name, shown in EXTRAS.items() if shown["schema"]["section"] == section}
    return frozenset(fields | {STANDARD_NAMES[name] for name in fields & STANDARD_NAMES.keys()})


GOOGLE_EXTRAS = _of(_GOOGLE)
OAUTH2_EXTRAS = _of(_OAUTH2)
