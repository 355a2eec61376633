"""A server that repeats what it was sent tells nobody: no secret, no half of one, in none of its forms."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_operations._airflow.xcom import operation_xcom
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError, error_of
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.hooks import _tokens as tokens
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer
from tests.support.token_server import TokenServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.support.hooks import Calls

PASSWORD = "p/ss w+rd-of-\u00e4 t\u00ebst-\"with%everything'"
KEY = "K3Y/of the+api=="
TOKEN = "t0ken.of/a+t3st~w1th-m4ny=ch4r4ct3rs=="
ONCE = Retries(attempts=1)

CONNECTIONS: dict[str, dict[str, Any]] = {
    "bearer": {"password": TOKEN},
    "basic": {"login": "the-user", "password": PASSWORD},
    "header": {"extra": {"headers": {"X-Api-Key": KEY}}},
}
SENT = {"bearer": [TOKEN], "basic": [PASSWORD, f"the-user:{PASSWORD}"], "header": [KEY]}


def forms(secret: str) -> list[str]:
    octets = secret.encode()
    return [
        secret,
        base64.b64encode(octets).decode(),
        base64.urlsafe_b64encode(octets).decode(),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
    ]


def repeated(kind: str) -> list[str]:
    return [form for secret in SENT[kind] for form in forms(secret)]


def parts_in(text: str, kind: str) -> list[str]:
    """Return parts of secrets, of eight characters, that stand in a text."""
    return [
        form[start : start + 8]
        for form in repeated(kind)
        for start in range(len(form) - 7)
        if form[start : start + 8] in text
    ]


def all_of(kind: str, cut_at: int) -> str:
    """What is said: all forms, and one that a cut would go through."""
    said = " ".join(repeated(kind))
    return said + "." * (cut_at - len(said) % cut_at - 10) + repeated(kind)[0] + "." * cut_at


@pytest.fixture(params=CONNECTIONS)
def kind(request: pytest.FixtureRequest) -> str:
    """What is sent along."""
    return str(request.param)


def texts_of(error: OperationsCallError) -> str:
    event = Outcome(Kind.CALL_FAILED, "operations/x", failure=error.failure).to_event()
    return "\n".join([str(error), repr(error), json.dumps(event, ensure_ascii=False)])


@pytest.mark.parametrize("escaped", [False, True], ids=["", "escaped"])
def test_an_operation_is_without_secrets(hook_of: Callable[..., Calls], kind: str, escaped: bool) -> None:
    """Metadata and error of an operation are without secrets: so is what is made of them, cut or not."""
    said = all_of(kind, 16_000)
    body = {
        "name": "operations/x",
        "done": True,
        "metadata": {"statusMessage": said, said: [said]},
        "error": {"code": 9, "message": said, "details": [{"@type": "t/x.Y", "said": said}], "more": said},
        "beside": said,
    }
    sent = json.dumps(body, ensure_ascii=False).replace("/", "\\/" if escaped else "/")
    with RawServer(lambda s: s.sendall(answer(body=sent.encode()))) as server:
        operation = hook_of(server.url, connection=CONNECTIONS[kind])("get_operation", "operations/x")
    error = error_of(Outcome(Kind.DONE, operation.name, operation), final=lambda _: True)
    for told in (
        str(error),
        json.dumps(operation.to_json(), ensure_ascii=False),
        json.dumps(operation_xcom(operation), ensure_ascii=False),
        str(operation.progress),
    ):
        assert "***" in told
        assert parts_in(told, kind) == []


def test_operations_of_a_list_are_without_secrets(hook_of: Callable[..., Calls], kind: str) -> None:
    """Those of a list are, too."""
    said = all_of(kind, 1000)
    body = json.dumps({"operations": [{"name": "operations/x", "metadata": {"a": said}}]}, ensure_ascii=False)
    with RawServer(lambda s: s.sendall(answer(body=body.encode()))) as server:
        [operation] = hook_of(server.url, connection=CONNECTIONS[kind]).list("projects/p")
    assert "***" in operation.metadata["a"]
    assert parts_in(operation.metadata["a"], kind) == []


@pytest.mark.parametrize(
    "case",
    ["error", "page", "large page", "challenge", "redirect", "not JSON", "no operation", "status line"],
)
def test_failures_are_without_secrets(hook_of: Callable[..., Calls], kind: str, case: str) -> None:
    """A refusal, a page of HTML, a header, what isn't an operation: nothing of it is cut before secrets are gone."""
    line = repeated(kind)[0]
    cuts = {"error": 16_000, "page": 500, "large page": 65_536, "no operation": 40}
    said = all_of(kind, cuts.get(case, 300))
    once_escaped = " ".join(form for form in repeated(kind) if "\\" not in form)
    sent = {
        "error": answer(400, json.dumps({"error": {"code": 400, "message": said}}).encode()),
        "page": answer(502, f"<p>{said}</p>".encode()),
        "large page": answer(502, (" ".join(repeated(kind)) * 700).encode()),
        "challenge": answer(401, b"{}", {"WWW-Authenticate": "." * 290 + line}),
        "redirect": answer(302, b"", {"Location": "https://example.com/" + "." * 270 + line}),
        "not JSON": answer(200, said.encode(), {"Content-Type": "." * 50 + line}),
        "no operation": answer(200, json.dumps({"name": {"a": once_escaped}}, ensure_ascii=False).encode()),
        "status line": b"HTTP/9.9.9 " + b"." * 280 + line.encode() + b"\r\n\r\n",
    }[case]
    with RawServer(lambda s: s.sendall(sent)) as server:
        calls = hook_of(server.url, retries=ONCE, connection=CONNECTIONS[kind])
        with pytest.raises(OperationsCallError) as raised:
            calls("get_operation", "operations/x")
    assert parts_in(texts_of(raised.value), kind) == []


async def test_events_and_log_of_a_trigger_are_without_secrets(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event of a trigger, and the lines it logs, are without them."""
    said = all_of(kind, 1000)
    states: list[dict[str, Any]] = [{"done": False}, {"done": True, "error": {"code": 9, "message": said}}]

    def state(connection: socket.socket) -> None:
        body = {"name": "operations/x", "metadata": {"statusMessage": said}, **states[0]}
        if len(states) > 1:
            states.pop(0)
        connection.sendall(answer(body=json.dumps(body).encode()))

    with RawServer(state) as server:
        set_connection(monkeypatch, server.url, "ops", **CONNECTIONS[kind])
        logged: list[str] = []

        class Log:
            def info(self, message: str, *args: Any) -> None:
                logged.append(message % args)

        monkeypatch.setattr(OperationsAsyncHook, "log", Log(), raising=False)
        trigger = OperationTrigger("operations/x", operations_conn_id="ops", poke_interval=1)
        (event,) = [event async for event in trigger.run()]
    told = json.loads(event.payload["outcome"])
    assert "***" in told["operation"]["error"]["message"]
    assert parts_in(json.dumps(told, ensure_ascii=False), kind) == []
    assert logged
    assert parts_in("\n".join(logged), kind) == []


@pytest.mark.parametrize("credentials", ["google", "oauth2"])
def test_a_fetched_token_is_known_in_all_its_forms(hook_of: Callable[..., Calls], credentials: str) -> None:
    """A token that was fetched is known in all its forms, as is what it was got with."""
    tokens._source.cache_clear()
    with TokenServer() as issuer:

        def repeat(connection: socket.socket) -> None:
            token = service.seen[-1].all("authorization")[0].partition(" ")[2]
            body = {"error": {"code": 400, "message": " ".join(forms(token))}}
            connection.sendall(answer(400, json.dumps(body).encode()))

        with RawServer(repeat) as service:
            fields: dict[str, Any] = {
                "login": "the-client",
                "password": "CLIENT-SECRET",
                "extra": {"auth": "oauth2", "token_url": issuer.token_url},
            }
            if credentials == "google":
                key = issuer.service_account()
                fields = {"extra": {"auth": "google", "keyfile_dict": key, "allowed_hosts": ["127.0.0.1"]}}
            calls = hook_of(service.url, retries=ONCE, connection=fields)
            with pytest.raises(OperationsCallError) as raised:
                calls("get_operation", "operations/x")
        [token] = issuer.issued
    told = texts_of(raised.value)
    assert "***" in told
    assert not any(form.rstrip("=")[:8] in told for form in forms(token))


def test_headers_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task sends with its start is known, too."""

    def repeat(connection: socket.socket) -> None:
        sent = server.seen[-1].all("x-api-key")[0]
        connection.sendall(answer(400, json.dumps({"error": {"code": 400, "message": f"{sent}?"}}).encode()))

    with RawServer(repeat) as server:
        set_connection(monkeypatch, server.url, "ops")
        with OperationsHook("ops", retries=ONCE) as hook, pytest.raises(OperationsCallError) as raised:
            hook.start_operation("things:run", headers={"X-Api-Key": KEY})
    assert "***?" in str(raised.value)


def test_the_response_is_as_it_came(hook_of: Callable[..., Calls]) -> None:
    """What the task is for isn't changed, nor is the name by which an operation is asked for."""
    body = json.dumps({"name": "operations/secret-name", "done": True, "response": {"a": "secret-name"}})
    with RawServer(lambda s: s.sendall(answer(body=body.encode()))) as server:
        calls = hook_of(server.url, connection={"password": "secret-name"})
        operation = calls("get_operation", "operations/secret-name")
    assert (operation.name, operation.response) == ("operations/secret-name", {"a": "secret-name"})


def test_a_header_of_the_start_alone(hook_of: Callable[..., Calls]) -> None:
    """What a start's own headers hold is hidden in its answer as well, by both hooks."""

    def repeats(connection: socket.socket) -> None:
        body = {"error": {"code": 400, "message": f"what is {KEY}?", "status": "INVALID_ARGUMENT"}}
        connection.sendall(answer(400, json.dumps(body).encode()))

    with RawServer(repeats) as server:
        calls = hook_of(server.url)
        with pytest.raises(OperationsCallError) as refused:
            calls("start_operation", "x:run", headers={"X-Api-Key": KEY})
    assert "what is ***?" in str(refused.value)
    assert KEY not in str(refused.value)
