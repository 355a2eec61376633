"""Credentials that have to be fetched: from a token server that checks them, with Google's and authlib's code."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from airflow_provider_operations._connection.credentials import ClientCredentials
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.hooks import _tokens as tokens
from tests.support.connections import set_connection
from tests.support.token_server import CLIENT, TokenServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clocks import MovedClock
    from tests.support.hooks import Calls

NOW = 1_800_000_000.0


@pytest.fixture
def server() -> Iterator[TokenServer]:
    tokens._source.cache_clear()
    with TokenServer() as server:
        yield server


def connection(server: TokenServer, kind: str) -> dict[str, Any]:
    """The fields of a connection to the server, with either kind of credentials."""
    if kind == "oauth2":
        extra = {"auth": "oauth2", "token_url": server.token_url, "scope": "a b", "audience": "aud"}
        return {"login": CLIENT[0], "password": CLIENT[1], "extra": extra}
    key = server.service_account()
    return {"extra": {"auth": "google", "keyfile_dict": key, "allowed_hosts": ["127.0.0.1"]}}


KINDS = pytest.mark.parametrize("kind", ["google", "oauth2"])


def get(calls: Calls) -> str:
    return str(calls("get_operation", "operations/x").name)


def settle() -> None:
    """Wait for the renewals that go on behind."""
    while renewals := [thread for thread in threading.enumerate() if thread.name == "token"]:
        for thread in renewals:
            thread.join()


@KINDS
def test_one_token_for_many_calls(
    server: TokenServer, moved: MovedClock, hook_of: Callable[..., Calls], kind: str
) -> None:
    """A token is fetched with the first call and used by all, those of other hooks of the connection too."""
    fields = connection(server, kind)
    first, second = hook_of(server.url, connection=fields), hook_of(server.url, connection=fields)
    assert [get(first), get(first), get(second)] == ["operations/x"] * 3
    assert [sent for _, _, sent in server.served] == [f"Bearer {server.issued[0]}"] * 3
    assert len(server.issued) == 1


def test_what_is_asked_of_google(
    server: TokenServer, moved: MovedClock, hook_of: Callable[..., Calls]
) -> None:
    """The assertion is signed with the key and names the account and the scopes."""
    fields = connection(server, "google")
    fields["extra"] |= {"scope": "s1, s2", "quota_project": "payer"}
    get(hook_of(server.url, connection=fields))
    [asked] = server.asked
    assert (asked["iss"], asked["scope"]) == ("robot@p.iam.gserviceaccount.com", "s1 s2")


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_what_is_asked_of_oauth2(
    server: TokenServer, moved: MovedClock, hook_of: Callable[..., Calls], client_auth: str
) -> None:
    """Scope and audience go along, the secret where the connection says."""
    fields = connection(server, "oauth2")
    fields["extra"]["token_endpoint_auth_method"] = client_auth
    get(hook_of(server.url, connection=fields))
    [asked] = server.asked
    assert (asked["grant_type"], asked["scope"], asked["audience"]) == ("client_credentials", "a b", "aud")
    assert asked.get("client_secret") == (CLIENT[1] if client_auth == "client_secret_post" else None)


@pytest.mark.parametrize(
    ("kind", "lasts_s", "after_s", "sent"),
    [
        *(
            pytest.param(kind, *case, id=f"{kind}-{id_}")
            for kind in ("google", "oauth2")
            for id_, case in {
                "55-minutes-fresh": (3300, 3300 - 226, [0, 0, 0]),
                "55-minutes-about-to-end": (3300, 3300 - 224, [0, 0, 1]),
                "55-minutes-ended": (3300, 3300 + 60, [0, 1, 1]),
                "a-minute-fresh": (60, 44, [0, 0, 0]),
                "a-minute-about-to-end": (60, 46, [0, 0, 1]),
            }.items()
        ),
        pytest.param("oauth2", None, 10 * 24 * 3600, [0, 0, 0], id="oauth2-nobody-said"),
    ],
)
def test_renewed_before_it_ends(
    server: TokenServer,
    moved: MovedClock,
    hook_of: Callable[..., Calls],
    kind: str,
    lasts_s: float | None,
    after_s: float,
    sent: list[int],
) -> None:
    """A token is renewed 225 s before its end, one of a short life in its last quarter; until then it is used."""
    server.lasts_s = lasts_s
    calls = hook_of(server.url, connection=connection(server, kind))
    get(calls)
    moved.now += after_s
    get(calls)
    settle()
    get(calls)
    assert [token for _, _, token in server.served] == [f"Bearer {server.issued[number]}" for number in sent]
    assert len(server.issued) == 1 + max(sent)


@KINDS
async def test_once_for_all_concurrent_polls(
    server: TokenServer, moved: MovedClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A hundred polls that find the token at its end fetch one, and the event loop goes on meanwhile."""
    set_connection(monkeypatch, server.url, "ops", **connection(server, kind))
    async with OperationsAsyncHook("ops") as hook:
        await hook.get_operation("operations/x")
        moved.now += 3700
        server.gate.clear()
        polls = [asyncio.create_task(hook.get_operation("operations/x")) for _ in range(100)]
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not any(poll.done() for poll in polls)
        polls[0].cancel()  # the one that began the renewal; the others get their token all the same
        server.gate.set()
        ended = await asyncio.gather(*polls, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ended] == [True] + [False] * 99
    assert not any(isinstance(end, Exception) for end in ended)
    assert len(server.issued) == 2
    assert {sent for _, _, sent in server.served[1:]} == {f"Bearer {server.issued[1]}"}


@KINDS
async def test_nobody_waits_for_a_renewal(
    server: TokenServer, moved: MovedClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """While the token server hangs, the token that is there is used, as it is valid."""
    set_connection(monkeypatch, server.url, "ops", **connection(server, kind))
    async with OperationsAsyncHook("ops") as hook:
        await hook.get_operation("operations/x")
        moved.now += 3200
        server.gate.clear()
        await asyncio.gather(*(hook.get_operation("operations/x") for _ in range(20)))
        server.gate.set()
        settle()
        await hook.get_operation("operations/x")
    first, renewed = (f"Bearer {token}" for token in server.issued)
    assert [sent for _, _, sent in server.served] == [first] * 21 + [renewed]


@KINDS
def test_no_thread_to_be_had(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A process without another thread has no token then, and gets one later."""
    start = threading.Thread.start

    def full(thread: threading.Thread) -> None:
        if thread.name == "token":
            raise RuntimeError("can't start new thread")
        start(thread)

    calls = hook_of(server.url, connection=connection(server, kind), retries=Retries(1))
    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(OperationsCallError, match="can't start new thread") as raised:
        calls("get_operation", "operations/x")
    assert raised.value.failure.transient
    monkeypatch.setattr(threading.Thread, "start", start)
    moved.now += 6
    get(calls)


@KINDS
def test_a_refused_token_isnt_sent_again(
    server: TokenServer, hook_of: Callable[..., Calls], moved: MovedClock, kind: str
) -> None:
    """What the service has refused isn't sent once more where another can't be had: that is an outage, and no end."""
    calls = hook_of(server.url, connection=connection(server, kind), retries=Retries(1))
    get(calls)
    moved.now += 3200
    server.refusals = [(503, "away")] * 100
    get(calls)
    settle()
    server.revoke()
    asked = len(server.served)
    with pytest.raises(OperationsCallError, match="no token: ") as raised:
        calls("get_operation", "operations/x")
    assert raised.value.failure.transient
    assert len(server.served) - asked <= 1


def test_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure a token is asked for again, whatever the host's clock shows."""
    now = {"clock": NOW, "since boot": 100.0}
    monkeypatch.setattr(clock, "now", lambda: now["clock"])
    monkeypatch.setattr(clock, "monotonic", lambda: now["since boot"])
    fetched: list[bool] = []

    def fetch(may_ask: bool) -> tokens.Token:
        fetched.append(may_ask)
        if len(fetched) == 1:
            raise tokens.NoToken("away", transient=True)
        return tokens.Token.lasting(3600, "a-token")

    source = tokens.TokenSource(fetch)
    with pytest.raises(tokens.NoToken):
        source.get()
    now["clock"] -= 3600
    now["since boot"] += 6
    assert source.get().secret == "a-token"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python's, of threads
def test_a_fork_in_the_midst_of_a_renewal() -> None:
    """The child has no thread that would bring the token, and fetches one itself."""
    tokens._source.cache_clear()
    wanted = ClientCredentials("http://127.0.0.1:9/token", "id", "secret", None, None, "client_secret_basic")
    mine = tokens._source(wanted, True, ())
    if (child := os.fork()) == 0:
        os._exit(tokens._source(wanted, True, ()) is mine)
    assert os.waitpid(child, 0)[1] == 0
    assert tokens._source(wanted, True, ()) is mine


def test_a_signal_in_the_midst_of_a_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal's handler raises there leaves no lock held, and nobody waits for what was never begun."""
    source = tokens.TokenSource(lambda _: tokens.Token.lasting(3600, "a-token"))
    start = threading.Thread.start

    def interrupted(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        source.get()
    source._failed_at_s = float("-inf")
    assert source.get().secret == "a-token"


async def test_a_loop_that_ends_in_the_midst_of_a_renewal() -> None:
    """Whoever else waits gets the token all the same."""
    fetching, gate = threading.Event(), threading.Event()

    def fetch(_: bool) -> tokens.Token:
        fetching.set()
        gate.wait(30)
        return tokens.Token.lasting(3600, "a-token")

    source = tokens.TokenSource(fetch, asks_airflow=True)
    first = asyncio.create_task(source.aget())
    await asyncio.sleep(0)
    assert await asyncio.to_thread(fetching.wait, 30)
    source._task.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert (await first).secret == "a-token"


def test_a_life_that_is_none() -> None:
    """A token whose life is no number would never count as fresh."""
    with pytest.raises(tokens.NoToken, match="can't last nan s"):
        tokens.Token.lasting(float("nan"), "a-token")


def test_a_token_that_is_too_long() -> None:
    """No server would take it."""
    with pytest.raises(tokens.NoToken, match="of 20000 characters"):
        tokens.Token.lasting(3600, "x" * 20_000)


def test_a_key_file_that_is_being_replaced(
    server: TokenServer, hook_of: Callable[..., Calls], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file that is away or half-written for a moment is read a moment later."""
    file = tmp_path / "key.json"
    whole = json.dumps(server.service_account())
    states = iter([whole[:100], whole])
    monkeypatch.setattr(clock, "sleep", lambda _: file.write_text(next(states)))
    extra = {"auth": "google", "allowed_hosts": "127.0.0.1", "key_path": str(file)}
    get(hook_of(server.url, connection={"extra": extra}))


def test_a_key_file_that_is_a_pipe(
    server: TokenServer, hook_of: Callable[..., Calls], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for without end."""
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    os.mkfifo(tmp_path / "key.json")
    extra = {"auth": "google", "allowed_hosts": "127.0.0.1", "key_path": str(tmp_path / "key.json")}
    with pytest.raises(OperationsCallError, match="the key file is no regular file"):
        get(hook_of(server.url, connection={"extra": extra}))


def test_once_for_all_threads(server: TokenServer, hook_of: Callable[..., Calls]) -> None:
    """The same in threads of a worker."""
    fields = connection(server, "oauth2")
    hooks = [hook_of(server.url, connection=fields) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(get, hooks))
    assert len(server.issued) == 1


@KINDS
@pytest.mark.parametrize("call", ["get", "start"])
def test_a_401_renews_the_token(
    server: TokenServer, hook_of: Callable[..., Calls], kind: str, call: str
) -> None:
    """After a 401 the request is sent once more with a new token, a start too: nothing was done."""
    calls = hook_of(server.url, connection=connection(server, kind))
    get(calls)
    server.revoke()
    if call == "get":
        get(calls)
    else:
        calls("start_operation", "things:run", json={})
    assert [sent for _, _, sent in server.served] == [f"Bearer {server.issued[at]}" for at in (0, 0, 1)]
    get(calls)
    assert len(server.issued) == 2


@KINDS
def test_a_401_for_a_new_token_ends_it(server: TokenServer, hook_of: Callable[..., Calls], kind: str) -> None:
    """A 401 for a fresh token is the end, with what the service said, and without the token."""
    calls = hook_of(server.url, connection=connection(server, kind))
    server.issue = lambda: server.issued.append(f"BAD-{len(server.issued)}") or server.issued[-1]  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(OperationsCallErrorFinal) as refused:
        get(calls)
    assert [sent for _, _, sent in server.served] == ["Bearer BAD-0", "Bearer BAD-1"]
    assert "UNAUTHENTICATED" in str(refused.value)
    assert 'www-authenticate: Bearer error="invalid_token"' in str(refused.value)
    assert "BAD" not in str(refused.value)


@KINDS
@pytest.mark.parametrize(
    ("answer", "transient"),
    [
        pytest.param((400, {"error": "invalid_grant", "error_description": "who?"}), False, id="refused"),
        pytest.param((503, "busy"), True, id="busy"),
        pytest.param((200, "<html>"), False, id="html"),
        pytest.param((200, {"error_description": "odd"}), False, id="no-token"),
    ],
)
def test_without_a_token_nothing_is_sent(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    answer: tuple[int, Any],
    transient: bool,
) -> None:
    """Without a token nothing is sent, and the error says who refused it and why, without credentials."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # google-auth repeats requests by itself
    server.refusals = [answer] * 20
    fields = connection(server, kind)
    with pytest.raises(OperationsCallError) as failed:
        get(hook_of(server.url, connection=fields))
    error = failed.value
    assert (error.failure.transient, error.failure.sent, error.http_status) == (transient, False, None)
    assert isinstance(error, OperationsCallErrorFinal) is not transient
    assert "no token: " in str(error)
    if answer[0] == 400:
        assert "who?" in str(error)
    for secret in (CLIENT[1], "PRIVATE KEY"):
        assert secret not in str(error)
    assert server.served == []


@KINDS
def test_token_server_down_for_a_while(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """A token that can't be renewed is used to its end; the token server isn't asked with every poll."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    calls = hook_of(server.url, connection=connection(server, kind))
    get(calls)
    moved.now += 3100
    server.refusals = [(500, "down")] * 100
    with caplog.at_level(logging.WARNING):
        get(calls)
        settle()
        left = len(server.refusals)
        get(calls)
        settle()
    assert len(server.refusals) == left  # asked less than 5 s ago
    assert [sent for _, _, sent in server.served] == [f"Bearer {server.issued[0]}"] * 3
    assert "is used until it ends" in caplog.text
    moved.now += 300
    with pytest.raises(OperationsCallError, match="no token: "):
        get(calls)
    server.refusals.clear()
    moved.now += 6
    get(calls)
    assert len(server.issued) == 2


def test_redirected_token_request(server: TokenServer, hook_of: Callable[..., Calls]) -> None:
    """The client secret doesn't follow a redirect."""
    with TokenServer() as other:
        fields = connection(server, "oauth2")
        server.refusals = [(307, "")]
        with pytest.raises(OperationsCallErrorFinal, match="the answer is no token"):
            get(hook_of(server.url, connection=fields))
        assert other.asked == []


def test_impersonation(
    server: TokenServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's own token asks IAM for one of the last account in the chain, by way of the others."""

    class ToServer(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            request.url = server.url + str(request.path_url)
            return super().send(request, *args, **kwargs)

    made = requests.Session.__init__

    def mounted(session: requests.Session) -> None:
        made(session)
        session.mount("https://iamcredentials.googleapis.com/", ToServer())

    monkeypatch.setattr(requests.Session, "__init__", mounted)
    fields = connection(server, "google")
    fields["extra"]["impersonation_chain"] = "via@p, target@p"
    get(hook_of(server.url, connection=fields))
    iam, operation = server.served
    assert iam[1] == "/v1/projects/-/serviceAccounts/target@p:generateAccessToken"
    assert iam[2] == f"Bearer {server.issued[0]}"
    assert server.asked[1]["delegates"] == ["via@p"]
    assert operation[2] == f"Bearer {server.issued[1]}"


@pytest.mark.filterwarnings("ignore:The load_credentials_from_file method")  # google-auth's own call, in 2.41
def test_application_default_credentials(
    server: TokenServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a key Google's own rules find one, here by GOOGLE_APPLICATION_CREDENTIALS."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps(server.service_account()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    extra = {"auth": "google", "quota_project": "payer", "allowed_hosts": "127.0.0.1"}
    get(hook_of(server.url, connection={"extra": extra}))
    assert server.asked[0]["iss"] == "robot@p.iam.gserviceaccount.com"


@pytest.mark.parametrize("given", ["key_path", "keyfile_dict"])
def test_external_account(
    server: TokenServer, hook_of: Callable[..., Calls], tmp_path: Path, given: str
) -> None:
    """Workload identity: a subject token from a file is exchanged for one of Google's (RFC 8693)."""
    subject = tmp_path / "subject"
    subject.write_text("SUBJECT")
    config = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": server.token_url,
        "credential_source": {"file": str(subject)},
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    extra = {given: str(file) if given == "key_path" else config, "allowed_hosts": "127.0.0.1"}
    exchanged = {
        "access_token": server.issue(),
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 3600,
    }
    server.refusals = [(200, exchanged)]
    get(hook_of(server.url, connection={"extra": extra}))
    assert server.served == [("GET", "/v1/operations/x", f"Bearer {server.issued[0]}")]


@pytest.mark.parametrize("given", ["key_path", "keyfile_dict"])
@pytest.mark.parametrize(
    ("address", "url", "why"),
    [
        ("token_url", "{elsewhere}", "leads to 127.0.0.1, which would get what the credential_source holds"),
        ("service_account_impersonation_url", "{elsewhere}", "leads to 127.0.0.1, which would get"),
        ("token_info_url", "{elsewhere}", "leads to 127.0.0.1, which would get"),
        ("token_url", "https://sts.googleapis.com.evil.example/v1/token", "leads to sts.googleapis.com.evil"),
        ("token_url", r"https://127.0.0.1\.googleapis.com/v1/token", "must be scheme, host, port"),
        (
            "token_url",
            "http://sts.googleapis.com/v1/token",
            "leads to sts.googleapis.com over plain http; use https",
        ),
    ],
)
def test_a_file_goes_to_google_alone(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    tmp_path: Path,
    given: str,
    address: str,
    url: str,
    why: str,
) -> None:
    """Who edits a connection doesn't read a worker's files by an external account with an address of their own."""
    secret = tmp_path / "fernet"
    secret.write_text("WORKERS-OWN")
    config = {
        "type": "external_account",
        "audience": "a",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(secret)},
        address: url.format(elsewhere=server.token_url),
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    extra = {given: str(file) if given == "key_path" else config}
    calls = hook_of("https://service.googleapis.com", connection={"extra": extra})
    with pytest.raises((InvalidConnection, OperationsCallErrorFinal)) as refused:
        get(calls)
    assert f"'{address}' {why}" in str(refused.value)
    assert server.asked == []
    assert server.served == []


@pytest.mark.parametrize(
    "content",
    [None, "x", "{}", '{"type": "service_account"}', '{"type": "service_account", "private_key": "S3CRET"}'],
)
def test_unreadable_keys(
    server: TokenServer, hook_of: Callable[..., Calls], tmp_path: Path, content: str | None
) -> None:
    """A key file that is none, or not there, is said to be so, without its content."""
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    extra = {"key_path": str(file), "allowed_hosts": "127.0.0.1"}
    with pytest.raises(OperationsCallErrorFinal, match="no token: Google's credentials") as refused:
        get(hook_of(server.url, connection={"extra": extra}))
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize(("extra", "module"), [("google", "google.auth"), ("oauth2", "authlib")])
def test_a_missing_library_is_named(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    monkeypatch: pytest.MonkeyPatch,
    extra: str,
    module: str,
) -> None:
    """Without the optional library the error says what to install."""
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OperationsCallErrorFinal, match=rf"airflow-provider-operations\[{extra}\]"):
        get(hook_of(server.url, connection=connection(server, extra)))


def test_google_provider(
    server: TokenServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ``gcp_conn_id`` takes the credentials of that connection; without Airflow's Google provider it says so."""
    google = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": server.service_account()}}
    monkeypatch.setenv("AIRFLOW_CONN_G", json.dumps(google))
    calls = hook_of(server.url, connection={"extra": {"gcp_conn_id": "g", "allowed_hosts": "127.0.0.1"}})
    try:
        installed = importlib.util.find_spec("airflow.providers.google") is not None
    except ModuleNotFoundError:
        installed = False
    if installed:
        get(calls)
        assert server.asked[0]["iss"] == "robot@p.iam.gserviceaccount.com"
    else:
        with pytest.raises(OperationsCallErrorFinal, match="apache-airflow-providers-google"):
            get(calls)


def _rotated(server: TokenServer, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Put another account's key into the file, and into what the Google provider's hook reads."""
    number = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(number))
    key = {**server.service_account(), "client_email": f"robot-{number}@p.iam.gserviceaccount.com"}
    (file.parent / "key.json").write_text(json.dumps(key))

    class GoogleBaseHook:
        def __init__(self, gcp_conn_id: str) -> None:
            assert gcp_conn_id == "g"

        def get_credentials(self) -> Any:
            from google.oauth2 import service_account

            return service_account.Credentials.from_service_account_info(key, scopes=["s"])

    module = types.ModuleType("base_google")
    module.GoogleBaseHook = GoogleBaseHook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.providers.google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "airflow.providers.google.common", types.ModuleType("common"))
    monkeypatch.setitem(sys.modules, "airflow.providers.google.common.hooks", types.ModuleType("hooks"))
    monkeypatch.setitem(sys.modules, "airflow.providers.google.common.hooks.base_google", module)


@pytest.mark.filterwarnings("ignore:The load_credentials_from_file method")  # google-auth's own call, in 2.41
@pytest.mark.parametrize("asks_again", [False, True])
@pytest.mark.parametrize("given", ["key_path", "gcp_conn_id", "environment"])
def test_credentials_that_are_elsewhere_are_read_again(
    server: TokenServer,
    hook_of: Callable[..., Calls],
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    given: str,
    asks_again: bool,
) -> None:
    """
    A key file or a Google connection that has changed counts from the next token on: a triggerer runs for months.

    If it can't be read then, those that were read before are used; and in a worker those of a connection, as a killed one
    mustn't wait for Airflow. The API server and sweeps (``asks_again``) have no such worker.
    """
    _rotated(server, monkeypatch, tmp_path / "number")
    file = tmp_path / "key.json"
    extra = {"auth": "google", "allowed_hosts": "127.0.0.1"}
    if given == "environment":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    else:
        extra[given] = str(file) if given == "key_path" else "g"
    calls = hook_of(server.url, connection={"extra": extra})
    calls.hook.asks_again = asks_again  # type: ignore[union-attr]  # without effect in the other
    get(calls)
    _rotated(server, monkeypatch, tmp_path / "number")
    moved.now += 3700
    get(calls)
    kept = given == "gcp_conn_id" and isinstance(calls.hook, OperationsHook) and not asks_again
    latest = "robot-1" if kept else "robot-2"
    assert [asked["iss"].partition("@")[0] for asked in server.asked] == ["robot-1", latest]
    file.unlink()
    monkeypatch.setitem(sys.modules, "airflow.providers.google.common.hooks.base_google", None)
    moved.now += 3700
    get(calls)
    assert server.asked[-1]["iss"] == f"{latest}@p.iam.gserviceaccount.com"
    assert ("going on with what was read before" in caplog.text) is not kept


def test_tokens_are_masked(
    server: TokenServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token, and what it is got with, is told to Airflow's masker before a request is sent with it."""
    masked: list[Any] = []
    for module in ("worker", "asynchronous", "_client"):
        monkeypatch.setattr(f"airflow_provider_operations.hooks.{module}.mask_secret", masked.append)
    calls = hook_of(server.url, connection=connection(server, "oauth2"))
    get(calls)
    server.revoke()
    get(calls)
    told, *tokens_told = masked
    assert {CLIENT[1], base64.b64encode(CLIENT[1].encode()).decode().rstrip("=")} <= set(told)
    assert tokens_told == [[token] for token in server.issued]
    assert len(server.issued) == 2


def test_a_private_key_reaches_airflows_masker(
    server: TokenServer, hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service account's private key is told to the masker, too."""
    masked: list[Any] = []
    for module in ("worker", "asynchronous", "_client"):
        monkeypatch.setattr(f"airflow_provider_operations.hooks.{module}.mask_secret", masked.append)
    fields = connection(server, "google")
    get(hook_of(server.url, connection=fields))
    key = fields["extra"]["keyfile_dict"]["private_key"].strip()
    assert masked == [[key, key.replace("\n", "\\n")], [server.issued[0]]]


def test_lazy_imports() -> None:
    """Neither google-auth nor authlib is loaded before a token is wanted."""
    program = (
        "import sys, airflow_provider_operations.hooks as h; h.OperationsHook('x');"
        "print(sorted(m for m in ('google.auth', 'authlib') if m in sys.modules))"
    )
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.splitlines()[-1] == "[]"
