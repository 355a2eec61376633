from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_operations._connection.credentials import ClientCredentials, GoogleCredentials
from airflow_provider_operations._connection.fields import ConnectionFields, InvalidConnection
from airflow_provider_operations._connection.settings import Settings, read_settings

GOOGLE = "spanner.googleapis.com"
KEY = {"type": "service_account", "private_key": "SECRET"}
TOKEN_URL = "https://id.example.com/token"
CLOUD = ("https://www.googleapis.com/auth/cloud-platform",)


def settings(
    extra: dict[str, Any] | None = None, host: str | None = GOOGLE, base_url: str | None = None, **fields: Any
) -> Settings:
    return read_settings(
        ConnectionFields("c", host=host, extra=extra or {}, **fields), {"base_url": base_url}
    )


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidConnection) as refused:
        settings(*args, **kwargs)
    assert "SECRET" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("extra", "fields", "sent"),
    [
        pytest.param({}, {}, "none", id="nothing"),
        pytest.param({}, {"login": "u", "password": "p"}, "Basic dTpw", id="login"),
        pytest.param({}, {"login": "u"}, "Basic dTo=", id="login-alone"),
        pytest.param({}, {"password": "p"}, "Bearer p", id="password"),
        pytest.param({"auth": "none"}, {"login": "u", "password": "p"}, "none", id="none-wins"),
        pytest.param({"auth": "Bearer"}, {"login": "u", "password": "p"}, "Bearer p", id="bearer-wins"),
        pytest.param({"auth": "basic"}, {"login": "u", "password": "p"}, "Basic dTpw", id="basic"),
        pytest.param({"auth": "google"}, {}, GoogleCredentials(), id="google"),
        pytest.param({"key_path": "/k"}, {}, GoogleCredentials(key_path="/k"), id="key-file"),
        pytest.param(
            {"keyfile_dict": json.dumps(KEY)},
            {},
            GoogleCredentials(key=json.dumps(KEY, sort_keys=True)),
            id="key",
        ),
        pytest.param({"gcp_conn_id": "g"}, {}, GoogleCredentials(gcp_conn_id="g"), id="google-provider"),
        pytest.param(
            {"impersonation_chain": "a@x, b@x", "scope": "s1,s2", "quota_project": "p"},
            {},
            GoogleCredentials(impersonation_chain=("a@x", "b@x"), scopes=("s1", "s2"), quota_project="p"),
            id="impersonation",
        ),
        pytest.param(
            {"token_url": TOKEN_URL},
            {"login": "id", "password": "SECRET"},
            ClientCredentials(TOKEN_URL, "id", "SECRET"),
            id="oauth2",
        ),
        pytest.param(
            {
                "auth": "oauth2",
                "token_url": TOKEN_URL + "/",
                "scope": "a b",
                "audience": "aud",
                "token_endpoint_auth_method": "client_secret_post",
            },
            {"login": "id", "password": "SECRET"},
            ClientCredentials(TOKEN_URL + "/", "id", "SECRET", "a b", "aud", "client_secret_post"),
            id="oauth2-whole",
        ),
        pytest.param(
            {"oauth2_url": TOKEN_URL, "oauth2_client_auth": "client_secret_post"},
            {"login": "id", "password": "SECRET"},
            ClientCredentials(TOKEN_URL, "id", "SECRET", client_auth="client_secret_post"),
            id="oauth2-by-names-that-airflow-shows",
        ),
        pytest.param(
            {"auth": "", "key_path": "", "token_url": None, "oauth2_url": ""},
            {"password": "p"},
            "Bearer p",
            id="form",
        ),
    ],
)
def test_auth_says_which_credentials(extra: dict[str, Any], fields: dict[str, Any], sent: object) -> None:
    """The kind of credentials is the one that ``auth`` names, else the one that is filled in."""
    auth = settings(extra, **fields).auth
    if isinstance(sent, str):
        assert (auth.headers.get("Authorization", "none"), auth.tokens) == (sent, None)
    else:
        assert (auth.headers, auth.tokens) == ({}, sent)


@pytest.mark.parametrize(
    ("extra", "fields", "said"),
    [
        pytest.param({"auth": "kerberos"}, {}, "one of none, basic, bearer, google, oauth2", id="unknown"),
        pytest.param({"auth": 5}, {}, "'auth' is text", id="number"),
        pytest.param({"auth": "basic"}, {"password": "SECRET"}, "needs login", id="basic-without-login"),
        pytest.param({"auth": "bearer"}, {}, "needs password", id="bearer-without-password"),
        *(
            pytest.param({}, {"password": password}, "without 'Bearer ' in front", id=password)
            for password in ("Bearer t", "bearer  t", " Bearer\tt\n")
        ),
        pytest.param({"auth": "bearer"}, {"password": " \n"}, "needs password", id="bearer-blank"),
        pytest.param(
            {"auth": "basic", "headers": {"authorization": "SECRET"}},
            {"login": "u"},
            "leave one of them out",
            id="two",
        ),
        pytest.param({"auth": "google", "keyfile_dict": "SECRET"}, {}, "keyfile_dict", id="key-not-json"),
        pytest.param(
            {"auth": "google", "keyfile_dict": {"private_key": "SECRET"}}, {}, "'type'", id="no-type"
        ),
        pytest.param({"keyfile_dict": KEY, "key_path": "/k"}, {}, "keyfile_dict and key_path", id="two-keys"),
        pytest.param({"auth": "google", "scope": 5}, {}, "'scope'", id="scope"),
        pytest.param({"auth": "google", "impersonation_chain": {"a": 1}}, {}, "chain", id="chain"),
        pytest.param({"auth": "oauth2"}, {"login": "u", "password": "SECRET"}, "oauth2_url", id="no-url"),
        pytest.param({"token_url": TOKEN_URL}, {"password": "SECRET"}, "client id", id="no-client-id"),
        pytest.param({"token_url": TOKEN_URL}, {"login": "u"}, "client secret", id="no-client-secret"),
        pytest.param(
            {"token_url": "http://id.example.com/token"},
            {"login": "u", "password": "SECRET"},
            "plain http to id.example.com",
            id="plain-http",
        ),
        pytest.param(
            {"token_url": "https://u:SECRET@id.example.com/"},
            {"login": "u", "password": "SECRET"},
            "credentials in it",
            id="url-with-credentials",
        ),
        pytest.param(
            {"token_url": TOKEN_URL, "token_endpoint_auth_method": "private_key_jwt"},
            {"login": "u", "password": "SECRET"},
            "client_secret_basic or client_secret_post",
            id="client-auth",
        ),
    ],
)
def test_odd_credentials_are_refused_by_field(
    extra: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    """What can't be meant is refused by the name of the field, without its value."""
    assert said in refusal(extra, **fields)


@pytest.mark.parametrize(
    ("host", "base_url", "allowed"),
    [
        pytest.param(GOOGLE, None, None, id="google"),
        pytest.param("us-central1-aiplatform.googleapis.com", None, None, id="regional"),
        pytest.param(None, f"https://{GOOGLE}", None, id="base-url-alone"),
        pytest.param("127.0.0.1:8080", None, "127.0.0.1", id="listed"),
        pytest.param("a.example", None, "*.EXAMPLE", id="pattern"),
        pytest.param(GOOGLE, "https://run.googleapis.com", "*.googleapis.com", id="another"),
    ],
)
def test_google_tokens_go_to(host: str | None, base_url: str | None, allowed: str | None) -> None:
    """Google's hosts, and those that the connection lists, get Google's tokens."""
    read = settings({"auth": "google", "allowed_hosts": allowed}, host, base_url)
    assert isinstance(read.auth.tokens, GoogleCredentials)


@pytest.mark.parametrize(
    ("host", "base_url", "allowed"),
    [
        pytest.param("operations.example.com", None, None, id="elsewhere"),
        pytest.param("127.0.0.1", None, None, id="loopback"),
        pytest.param("evilgoogleapis.com", None, None, id="looks-like-it"),
        pytest.param("googleapis.com.evil.example", None, None, id="begins-like-it"),
        pytest.param(None, "https://a.example", None, id="base-url"),
        pytest.param(GOOGLE, "https://run.googleapis.com", None, id="another-of-google"),
        pytest.param(f"http://{GOOGLE}", None, None, id="plain-http"),
    ],
)
def test_google_tokens_do_not_go_to(host: str | None, base_url: str | None, allowed: str | None) -> None:
    """Anybody else doesn't get them, nor does Google over plain http."""
    assert refusal({"auth": "google", "allowed_hosts": allowed}, host, base_url)


def test_no_secrets_in_repr() -> None:
    """Neither key nor client secret is shown when settings are printed."""
    assert "SECRET" not in repr(settings({"keyfile_dict": KEY}))
    assert "SECRET" not in repr(settings({"token_url": TOKEN_URL}, login="u", password="SECRET"))
