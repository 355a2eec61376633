from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_operations._connection.credentials import Auth, GoogleCredentials
from airflow_provider_operations._connection.settings import (
    ConnectionFields,
    InvalidConnection,
    Settings,
    read_settings,
)
from airflow_provider_operations._protocol.request import Service


def settings(
    overrides: dict[str, Any] | None = None, /, host: str | None = "api.example.com", **fields: Any
) -> Settings:
    return read_settings(ConnectionFields("c", host=host, **fields), overrides or {})


def extra(value: Any, /, **more: Any) -> Settings:
    """Settings of a connection with these extras."""
    return settings(extra=value, **more)


def refusal(overrides: dict[str, Any] | None = None, /, **fields: Any) -> str:
    with pytest.raises(InvalidConnection) as refused:
        settings(overrides, **fields)
    return str(refused.value)


@pytest.mark.parametrize("conn_type", ["http", "gcpcloudsql"])
def test_a_connection_of_another_type_is_named(conn_type: str) -> None:
    """A connection of another type keeps its settings elsewhere; its type is named instead of what is missing."""
    connection = SimpleNamespace(
        conn_id="c", conn_type=conn_type, host="h", port=None, schema=None, login=None, password=None
    )
    with pytest.raises(InvalidConnection) as refused:
        ConnectionFields.of(connection, {})
    assert str(refused.value) == (
        f"connection 'c' is of type {conn_type!r}, and not 'operations'; make one of type Long-Running Operations"
    )


@pytest.mark.parametrize(
    ("given", "credentials"),
    [
        pytest.param({}, GoogleCredentials(), id="default-credentials"),
        pytest.param(
            {"project": "p", "num_retries": 5, "key_path": "/k", "scope": "s1,s2", "keyfile_dict": ""},
            GoogleCredentials(key_path="/k", scopes=("s1", "s2")),
            id="key-file",
        ),
        pytest.param(
            {"extra__google_cloud_platform__key_path": "/old", "extra__google_cloud_platform__project": "p"},
            GoogleCredentials(key_path="/old"),
            id="old-names",
        ),
        pytest.param(
            {"extra__google_cloud_platform__key_path": "/old", "key_path": "/new"},
            GoogleCredentials(key_path="/new"),
            id="new-names-win",
        ),
        pytest.param(
            {"impersonation_chain": "a@x"}, GoogleCredentials(impersonation_chain=("a@x",)), id="chain"
        ),
        pytest.param(
            {"is_anonymous": False, "key_secret_name": None, "key_path": "/k"},
            GoogleCredentials(key_path="/k"),
            id="a-box-that-is-not-ticked",
        ),
        pytest.param(
            {"extra__google_cloud_platform__is_anonymous": "False"},
            GoogleCredentials(),
            id="a-box-that-is-not-ticked-in-a-uri",
        ),
        pytest.param(
            {"key_secret_name": "k"}, GoogleCredentials(gcp_conn_id="c"), id="of-the-provider-alone"
        ),
    ],
)
def test_a_connection_of_the_google_provider(given: dict[str, Any], credentials: GoogleCredentials) -> None:
    """It is one with Google's tokens; the provider's own code is needed only for fields that nobody else knows."""
    connection = SimpleNamespace(
        conn_id="c",
        conn_type="google_cloud_platform",
        host=None,
        port=None,
        schema=None,
        login="ignored",
        password="ignored",
    )
    fields = ConnectionFields.of(connection, given)
    read = read_settings(fields, {"base_url": "https://file.googleapis.com"})
    assert read.auth == Auth({}, credentials)
    with pytest.raises(InvalidConnection, match="is not the host of connection 'c'"):
        read_settings(fields, {"base_url": "https://example.com"})


@pytest.mark.parametrize(
    ("said", "asked", "scopes"),
    [
        (None, None, ("https://www.googleapis.com/auth/cloud-platform",)),
        (None, "s1 s2", ("s1", "s2")),
        (None, "", ("https://www.googleapis.com/auth/cloud-platform",)),
        ("s0", "s1", ("s0",)),
    ],
)
def test_scopes(said: str | None, asked: str | None, scopes: tuple[str, ...]) -> None:
    """A task's scopes count where the connection says none: whoever made it may want them to be few."""
    extra = {"auth": "google", "scope": said}
    read = settings({"scopes": asked}, host="file.googleapis.com", extra=extra)
    assert read.auth.tokens == GoogleCredentials(scopes=scopes)


def test_without_a_type() -> None:
    """As Airflow has it of a JSON text that names none."""
    connection = SimpleNamespace(
        conn_id="c", conn_type="", host="h", port=None, schema=None, login=None, password=None
    )
    assert ConnectionFields.of(connection, {}) == ConnectionFields("c", host="h")


def test_a_host_is_enough() -> None:
    """A host is enough: https, prefix v1, POST :cancel, 30 s, certificates checked, nothing else sent."""
    assert settings() == Settings(
        Service("https://api.example.com", "v1", ":cancel", "POST", None, "query"),
        Auth({}, None),
        30.0,
        True,
        None,
        {},
        None,
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        pytest.param({"host": "api.example.com"}, "https://api.example.com", id="https-by-default"),
        pytest.param({"host": "127.0.0.1", "port": 80}, "http://127.0.0.1:80", id="http-on-loopback"),
        pytest.param({"host": "localhost", "port": 8080}, "http://localhost:8080", id="http-on-localhost"),
        pytest.param({"host": "127.9.9.9"}, "http://127.9.9.9", id="all-of-127"),
        pytest.param({"host": "[::1]", "port": 8080}, "http://[::1]:8080", id="IPv6-loopback"),
        pytest.param(
            {"host": "::1", "port": 8080}, "http://[::1]:8080", id="IPv6-as-Airflow-has-it-of-a-URI"
        ),
        pytest.param({"host": "2001:db8::1"}, "https://[2001:db8::1]", id="IPv6-elsewhere"),
        pytest.param({"host": "127.0.0.1", "schema": "https"}, "https://127.0.0.1", id="https-on-loopback"),
        pytest.param({"host": "internal", "schema": "http"}, "http://internal", id="http-when-told"),
        pytest.param({"host": "http://internal"}, "http://internal", id="scheme-in-host"),
        pytest.param(
            {"host": "http://internal", "schema": "https"}, "http://internal", id="host's-scheme-wins"
        ),
        pytest.param({"host": "h.example", "port": 8443}, "https://h.example:8443", id="port"),
        pytest.param(
            {"host": "https://h.example:1", "port": 2}, "https://h.example:1", id="host's-port-wins"
        ),
        pytest.param({"host": "127.0.0.1:8080"}, "http://127.0.0.1:8080", id="port-in-host"),
        pytest.param({"host": "https://h.example/base/"}, "https://h.example/base", id="path"),
        pytest.param(
            {"host": "h.example/base", "port": 8443}, "https://h.example:8443/base", id="path-and-port"
        ),
        pytest.param({"host": " h.example "}, "https://h.example", id="padded"),
        pytest.param(
            {"host": "localhost.evil.example"}, "https://localhost.evil.example", id="not-localhost"
        ),
    ],
)
def test_the_base_url_is_https_unless_on_loopback_or_told(fields: dict[str, Any], url: str) -> None:
    """The base URL is host, port, scheme and path of the connection; https unless on loopback or told."""
    assert settings(**fields).service.base_url == url


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"host": None}, "connection 'c' has no host", id="no-host"),
        pytest.param({"host": ""}, "connection 'c' has no host", id="empty-host"),
        pytest.param({"host": "ftp://h"}, "must be http:// or https:// and a host, not 'ftp://h'", id="ftp"),
        pytest.param({"host": "h", "schema": "file"}, "must be http:// or https://", id="schema-file"),
        pytest.param({"host": "https://"}, "must be http:// or https:// and a host", id="scheme-alone"),
        pytest.param({"host": "https://u:pw@h"}, "must not have credentials in it", id="userinfo"),
        pytest.param({"host": "u@h"}, "must not have credentials in it", id="user-alone"),
        pytest.param({"host": "https://@h"}, "must not have credentials in it", id="empty-userinfo"),
        pytest.param({"host": "https://u:p/w@h"}, "must not have credentials in it", id="slash-in-password"),
        pytest.param({"host": "https://u:p#w@h"}, "must not have credentials in it", id="hash-in-password"),
        pytest.param({"host": "https://h?key=1"}, "must be scheme, host, port", id="query"),
        pytest.param({"host": "https://h#f"}, "must be scheme, host, port", id="fragment"),
        pytest.param({"host": "https://h/a/../b"}, "must be scheme, host, port", id="dot-dot"),
        pytest.param({"host": "https://h /b"}, "must be scheme, host, port", id="space"),
        pytest.param({"host": "https://h:port"}, "is not a URL: ", id="port-no-number"),
        pytest.param({"host": "https://h:99999"}, "is not a URL: ", id="port-too-large"),
        pytest.param({"host": "https://[::1"}, "is not a URL: ", id="IPv6-unclosed"),
        pytest.param({"host": "[::1"}, "is not a URL: ", id="IPv6-unclosed-without-scheme"),
        pytest.param({"host": "fe80::1%eth0"}, "has a zone in it", id="IPv6-with-a-zone"),
    ],
)
def test_hosts_that_no_request_should_go_to_are_refused(fields: dict[str, Any], text: str) -> None:
    """A host that no request can or should go to is refused, and a password in it isn't repeated."""
    refused = refusal(**fields)
    assert text in refused
    assert "pw" not in refused
    assert "u:p" not in refused


@pytest.mark.parametrize(
    ("own", "override", "allowed"),
    [
        pytest.param("https://h.example", "https://h.example/v2", None, id="same-origin"),
        pytest.param("https://h.example", "https://h.example:443", None, id="default-port"),
        pytest.param("https://h.example", "https://H.EXAMPLE", None, id="case"),
        pytest.param("https://h.example", "https://eu.h.example", ["eu.h.example"], id="listed"),
        pytest.param(
            "https://h.example", "https://eu.h.example", ["EU.h.example"], id="listed-in-other-case"
        ),
        pytest.param("https://h.example", "https://eu.h.example", "a, EU.h.example", id="listed-as-text"),
        pytest.param("https://h.example", "https://eu.h.example", ["*.h.example"], id="wildcard"),
        pytest.param("https://h.example", "https://a.b.h.example", "*.h.example", id="wildcard-deeper"),
        pytest.param(None, "https://h.example", ["h.example"], id="no-host-of-its-own"),
    ],
)
def test_a_task_may_send_to_allowed_hosts(own: str | None, override: str, allowed: object) -> None:
    """A task may send elsewhere within the connection's origin, and to the hosts that it allows."""
    read = settings({"base_url": override}, host=own, password="t", extra={"allowed_hosts": allowed})
    assert read.service.base_url == override.lower()


@pytest.mark.parametrize(
    ("own", "override", "allowed"),
    [
        pytest.param("https://h.example", "https://evil.example", None, id="other-host"),
        pytest.param("https://h.example", "https://h.example:8443", None, id="other-port"),
        pytest.param("https://h.example", "http://h.example", None, id="other-scheme"),
        pytest.param("https://h.example", "https://h.example.", None, id="trailing-dot"),
        pytest.param("https://a.example", "https://h.example", ["*.h.example"], id="wildcard-without-label"),
        pytest.param(
            "https://a.example", "https://evilh.example", ["*.h.example"], id="wildcard-needs-the-dot"
        ),
        pytest.param("https://a.example", "https://h.example", ["*"], id="star-alone"),
        pytest.param("https://a.example", "https://h.example", "", id="empty"),
        pytest.param("https://a.example", "https://h.example", 5, id="number"),
        pytest.param("https://a.example", "https://h.example", [5, None], id="list-of-others"),
        pytest.param(None, "https://h.example", None, id="no-host-but-credentials"),
        pytest.param("https://a.example", "https://u:pw@a.example", None, id="userinfo"),
    ],
)
def test_credentials_go_to_no_other_origin(own: str | None, override: str, allowed: object) -> None:
    """Credentials go to no origin that the connection doesn't name."""
    fields = {"host": own, "password": "t", "extra": {"allowed_hosts": allowed}}
    assert "pw" not in refusal({"base_url": override}, **fields)


def external_account(token_url: str) -> dict[str, Any]:
    """The fields of a connection whose tokens come from there."""
    key = {"type": "external_account", "token_url": token_url}
    return {"host": "https://sts.googleapis.com", "extra": {"auth": "google", "keyfile_dict": key}}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"host": "https://h.example?key=S3CRET-1"}, id="query of the host"),
        pytest.param({"host": "https://h.example/#S3CRET-1"}, id="fragment of the host"),
        pytest.param(
            {"host": "https://h.example", "extra": {"cert": "-----BEGIN KEY-----\nS3CRET-1"}}, id="cert"
        ),
        pytest.param(
            {"host": "https://h.example", "extra": {"verify": "-----BEGIN X-----\nS3CRET-1"}}, id="verify"
        ),
        pytest.param(
            {
                "host": "https://h.example",
                "login": "id",
                "password": "a-secret",
                "extra": {"auth": "oauth2", "oauth2_url": "https://h.example/t?client_secret=S3CRET-1"},
            },
            id="query of the token URL",
        ),
        pytest.param(
            external_account("https://u:S3CRET-1@sts.googleapis.com"),
            id="user of an external account's URL",
        ),
        pytest.param(
            external_account("https://u:S3CRET/-#1@sts.googleapis.com"),
            id="password with a slash",
        ),
        pytest.param(
            {"host": "https://h.example", "extra": {"verify": ["-----BEGIN X-----\nS3CRET-1"]}}, id="list"
        ),
    ],
)
def test_a_refusal_shows_no_secret(fields: dict[str, Any]) -> None:
    """What is in the wrong place may be a secret; the error is shown to who looks at the task."""
    assert "S3CRET" not in refusal(**fields)


def test_no_host_and_no_credentials() -> None:
    """A connection that has nothing to give away lets a task send anywhere."""
    assert settings({"base_url": "http://h.example"}, host=None).service.base_url == "http://h.example"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "t"},
        {"login": "u"},
        {"extra": {"headers": {"X-Api-Key": "k"}}},
        {"extra": {"headers": {"Authorization": "k"}}},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("http://h.example", True),
        ("http://10.0.0.1", True),
        ("http://127.0.0.1.evil.example", True),
        ("http://127.0.0.1", False),
        ("http://localhost", False),
        ("http://[::1]", False),
        ("https://h.example", False),
    ],
)
def test_no_credentials_over_plain_http(fields: dict[str, Any], host: str, refused: bool) -> None:
    """Credentials, headers included, travel over plain http on loopback only."""
    if refused:
        assert "credentials are not sent over plain http" in refusal(host=host, **fields)
    else:
        assert settings(host=host, **fields).service.base_url == host


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"login": "u", "password": "p"}, {"Authorization": "Basic dTpw"}, id="basic"),
        pytest.param({"login": "ü", "password": "ß:"}, {"Authorization": "Basic w7w6w586"}, id="basic-utf-8"),
        pytest.param({"login": "u"}, {"Authorization": "Basic dTo="}, id="login-alone"),
        pytest.param({"password": "tok"}, {"Authorization": "Bearer tok"}, id="bearer"),
        pytest.param({"password": "tok\n"}, {"Authorization": "Bearer tok"}, id="bearer-from-a-file"),
        pytest.param({"extra": {"headers": {"X-A": "b", "X-N": 5}}}, {"X-A": "b", "X-N": "5"}, id="headers"),
        pytest.param({"extra": {"headers": '{"X-A": "b"}'}}, {"X-A": "b"}, id="headers-from-the-form"),
        pytest.param({"extra": {"headers": ""}}, {}, id="headers-left-empty-in-the-form"),
        pytest.param({"extra": {"headers": {"X-A": " b "}}}, {"X-A": "b"}, id="header-padded"),
        pytest.param(
            {"login": "u", "password": "p", "extra": {"headers": {"authorization": "Own x"}}},
            {"authorization": "Own x"},
            id="own-authorization-wins",
        ),
    ],
)
def test_login_password_and_extra_make_the_headers(fields: dict[str, Any], headers: dict[str, str]) -> None:
    """Login and password make Basic, a password alone Bearer; extra headers join, as JSON text from the form too."""
    assert settings(**fields).auth.headers == headers


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "[1]",
        [1],
        5,
        {"X-A": None},
        {"X-A": ["b"]},
        {"X-A": "SECRET\r\nHost: evil"},
        {"X-A\n": "SECRET"},
        {"X-A": "SECRET\0"},
    ],
    ids=repr,
)
def test_headers_that_are_no_lines_of_text_are_refused(value: object) -> None:
    """Headers that aren't an object of lines of text are refused, their values not repeated."""
    assert "SECRET" not in refusal(extra={"headers": value})


def test_refused_headers_by_name() -> None:
    """The text says which header it is."""
    assert refusal(extra={"headers": {"X-A": ["b"]}}).startswith(
        "connection 'c': headers['X-A'] is list, which"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {"base_url": ""},
        {"base_url": " \n"},
        {"cancel_suffix": "", "cancel_method": "", "error_format": ""},
    ],
    ids=repr,
)
def test_what_a_template_left_empty(overrides: dict[str, Any]) -> None:
    """An argument that was rendered empty means: as the connection says."""
    connection: dict[str, Any] = {
        "extra": {"cancel_suffix": "/stop", "cancel_method": "PUT", "error_format": 2}
    }
    assert settings(overrides, **connection) == settings(**connection)


@pytest.mark.parametrize(
    ("fields", "overrides", "target"),
    [
        ({"host": "https://h.example/v1"}, {}, "https://h.example/v1/operations/x"),
        ({"host": "https://h.example/api/v1/"}, {}, "https://h.example/api/v1/operations/x"),
        (
            {"host": "h.example/api", "extra": {"path_prefix": "api"}},
            {},
            "https://h.example/api/operations/x",
        ),
        ({"host": "h.example"}, {"base_url": "https://h.example/v1"}, "https://h.example/v1/operations/x"),
        ({"host": "h.example/v1"}, {"path_prefix": ""}, "https://h.example/v1/operations/x"),
        ({"host": "h.example/v1"}, {"path_prefix": "v2"}, "https://h.example/v1/v2/operations/x"),
        ({"host": "h.example/apiv1"}, {}, "https://h.example/apiv1/v1/operations/x"),
        ({"host": "v1"}, {}, "https://v1/v1/operations/x"),
    ],
    ids=repr,
)
def test_the_prefix_comes_once(fields: dict[str, Any], overrides: dict[str, Any], target: str) -> None:
    """A host that ends in the prefix, as people copy it from a URL, doesn't bring it twice."""
    service = settings(overrides, **fields).service
    for name in ("operations/x", *([f"{service.path_prefix}/operations/x"] if service.path_prefix else [])):
        assert service.base_url + service.get_operation(name).target == target


def test_passwords_of_several_lines() -> None:
    """A bearer token with a line break inside would forge headers: refused, not repeated."""
    text = refusal(password="SECRET\r\nHost: evil")
    assert "password" in text
    assert "SECRET" not in text


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("path_prefix", "v1/admin", "v1/admin"),
        ("path_prefix", "/v2/", "v2"),
        ("path_prefix", "", ""),
        ("path_prefix", "/", ""),
        ("path_prefix", None, "v1"),
        ("cancel_suffix", "/cancel", "/cancel"),
        ("cancel_suffix", "", ":cancel"),
        ("cancel_suffix", ":stop_now", ":stop_now"),
        ("cancel_method", "get", "GET"),
        ("cancel_method", "", "POST"),
        ("cancel_method", " post\n", "POST"),
        ("wait_timeout_in", "Body", "body"),
        ("wait_timeout_in", "", "query"),
        ("error_format", 2, 2),
        ("error_format", "1", 1),
        ("error_format", "", None),
        ("error_format", None, None),
    ],
)
def test_a_tasks_spelling_wins_over_the_connections(key: str, value: object, read: object) -> None:
    """How the service spells the methods comes from the extra, or from the task, which wins."""
    assert getattr(extra({key: value}).service, key) == read
    others = {
        "path_prefix": "v9",
        "cancel_suffix": ":x",
        "cancel_method": "PUT",
        "error_format": 2,
        "wait_timeout_in": "query",
    }
    if value is not None and (other := others.get(key)) is not None:
        overridden = settings({key: other}, extra={key: value})
        assert getattr(overridden.service, key) == other


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path_prefix", "https://evil.example"),
        ("path_prefix", "v1/../v2"),
        ("path_prefix", "v1//v2"),
        ("path_prefix", "."),
        ("path_prefix", "v1?key=x"),
        ("path_prefix", "v1#x"),
        ("path_prefix", "v1 x"),
        ("path_prefix", "v1\r\nHost: evil"),
        ("path_prefix", "v1\\x"),
        ("path_prefix", "v1%2e"),
        ("path_prefix", 1),
        ("cancel_suffix", "cancel"),
        ("cancel_suffix", ":"),
        ("cancel_suffix", ":cancel?x"),
        ("cancel_suffix", "/../x"),
        ("cancel_suffix", "/a/b"),
        ("cancel_suffix", 5),
        ("cancel_method", "HEAD"),
        ("cancel_method", 5),
        ("error_format", 3),
        ("error_format", "x"),
        ("error_format", True),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "soon"),
        ("timeout", float("nan")),
        ("timeout", 86_400),
        ("timeout", []),
        ("verify", 1),
        ("verify", []),
        ("proxies", 5),
        ("proxies", "x"),
        ("proxies", {"https": 5}),
        ("console_url", 5),
        ("console_url", "https://c.example/{id}"),
        ("cert", 5),
        ("cert", "a.pem,b.pem,c.pem"),
        ("wait_timeout_in", "header"),
        ("max_connections", 0),
        ("max_connections", True),
        ("max_requests_per_second", -1),
        ("max_requests_per_second", "many"),
        ("poll_with", "push"),
        ("list_filter", 5),
    ],
    ids=repr,
)
def test_settings_that_cannot_be_meant_are_refused_by_name(key: str, value: object) -> None:
    """A setting that can't be meant is refused with its name, before anything is sent."""
    assert key in refusal(extra={key: value})


@pytest.mark.parametrize(
    ("key", "value", "field", "read"),
    [
        ("timeout", 5, "timeout_s", 5.0),
        ("timeout", "2.5", "timeout_s", 2.5),
        ("timeout", "", "timeout_s", 30.0),
        ("timeout", None, "timeout_s", 30.0),
        ("verify", False, "verify", False),
        ("verify", "false", "verify", False),
        ("verify", "True", "verify", True),
        ("verify", "", "verify", True),
        ("verify", None, "verify", True),
        ("verify", "/etc/ca.pem", "verify", "/etc/ca.pem"),
        ("max_connections", "4", "max_connections", 4),
        ("max_connections", None, "max_connections", 16),
        ("max_requests_per_second", 0.5, "max_requests_per_second", 0.5),
        ("max_requests_per_second", "", "max_requests_per_second", None),
        ("poll_with", "list", "poll_with", "list"),
        ("poll_with", "", "poll_with", "get"),
        ("list_filter", "", "list_filter", "done=false"),
        ("list_filter", "none", "list_filter", ""),
        ("list_filter", "state=1", "list_filter", "state=1"),
        ("cert", "/c.pem", "cert", ("/c.pem", "/c.pem")),
        ("cert", "/c.pem, /k.pem", "cert", ("/c.pem", "/k.pem")),
        ("cert", ["/c.pem", "/k.pem"], "cert", ("/c.pem", "/k.pem")),
        ("cert", "", "cert", None),
        ("proxies", {"https": "http://p:1"}, "proxies", {"https": "http://p:1"}),
        ("proxies", '{"https": "http://p:1"}', "proxies", {"https": "http://p:1"}),
        ("proxies", " http://p:1 ", "proxies", {"http": "http://p:1", "https": "http://p:1"}),
        ("proxies", "", "proxies", {}),
        ("console_url", "https://c/{name}", "console_url", "https://c/{name}"),
        ("console_url", "", "console_url", None),
    ],
)
def test_extras_are_read_as_json_and_as_text(key: str, value: object, field: str, read: object) -> None:
    """The other extras, as JSON values and as the text that the form delivers."""
    assert getattr(extra({key: value}), field) == read


def test_unknown_extras_are_named_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Unknown extras are named in one warning, their values not, and sent nowhere."""
    with caplog.at_level(logging.DEBUG):
        read = extra({"tiemout": "SECRET1", "Authorization": "SECRET2", "timeout": 5})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "connection 'c': unknown extras are ignored and not sent: Authorization, tiemout")
    ]
    assert read == Settings(Service("https://api.example.com"), timeout_s=5.0)


def test_known_extras_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged where every extra is known."""
    extra({"path_prefix": "v2", "allowed_hosts": [], "headers": {}})
    assert caplog.records == []


@pytest.mark.parametrize("value", [None, [], "x", 5], ids=repr)
def test_extras_that_are_no_object(value: Any) -> None:
    """An extra that is no JSON object is refused."""
    assert "its extra is a JSON object" in refusal(extra=value)


def test_no_secrets_in_repr() -> None:
    """Neither the fields nor the settings show a credential when printed."""
    fields = ConnectionFields(
        "c",
        host="h.example",
        login="u",
        password="SECRET",
        extra={"headers": {"X-Key": "SECRET"}, "proxies": {"https": "http://u:SECRET@p"}},
    )
    assert "SECRET" not in repr(fields)
    read = read_settings(fields, {})
    assert read.auth.headers["X-Key"] == "SECRET"
    assert "SECRET" not in repr(read)
    assert "U0VDUkVU" not in repr(read)
