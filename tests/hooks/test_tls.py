"""Whose certificates are trusted."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks import OperationsAsyncHook
from tests.support.connections import set_connection
from tests.support.raw_server import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clocks import MovedClock
    from tests.support.hooks import Calls


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def client(authority: trustme.CA, tmp_path: Path) -> Path:
    """A folder with a client's certificate and key: one.pem, or cert.pem and key.pem."""
    issued = authority.issue_cert("client@example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "one.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    return tmp_path


class TlsServer:
    """Answers every request with a done operation; ``asks`` for a client certificate, and notes whose came."""

    def __init__(self, authority: trustme.CA, *, asks: bool = False) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        if asks:
            authority.configure_trust(self._context)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self.requests: list[bytes] = []
        self.clients: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with (
                connection,
                suppress(OSError),
                self._context.wrap_socket(connection, server_side=True) as wrapped,
            ):
                self.requests.append(wrapped.recv(65536))
                shown: Any = wrapped.getpeercert()
                if shown:
                    self.clients += [value for _, value in shown["subjectAltName"]]
                wrapped.sendall(answer())


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[TlsServer]:
    """A TLS server of the authority."""
    with TlsServer(authority) as server:
        yield server


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # urllib3 says so, rightly
@pytest.mark.parametrize("environment", [False, True], ids=["", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("verify", ["bundle", False, "false"])
def test_the_connections_own_bundle_is_trusted(
    server: TlsServer,
    bundle: Path,
    hook_of: Callable[..., Calls],
    monkeypatch: pytest.MonkeyPatch,
    verify: Any,
    environment: bool,
) -> None:
    """The connection's own bundle is trusted, and verification is off where it says so; the environment
    doesn't overrule it."""
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if environment:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", ssl.get_default_verify_paths().openssl_cafile)
    if verify == "bundle":
        verify = str(bundle)
    calls = hook_of(server.url, connection={"extra": {"verify": verify}})
    assert calls("get_operation", "operations/x").name == "operations/x"
    assert server.requests[0].startswith(b"GET /v1/operations/x HTTP/1.1\r\n")


def test_an_unknown_certificate_ends_the_call(server: TlsServer, hook_of: Callable[..., Calls]) -> None:
    """A certificate that nobody vouches for ends the call at once: nothing is sent, a retry won't help."""
    with pytest.raises(OperationsCallErrorFinal) as refused:
        hook_of(server.url, connection={"password": "tok"})("get_operation", "operations/x")
    failure = refused.value.failure
    assert (failure.sent, failure.transient, failure.attempts) == (False, False, 1)
    assert "certificate verify failed" in failure.problem
    assert server.requests == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", ["bundle", False])
@pytest.mark.parametrize("files", [["one.pem"], ["cert.pem", "key.pem"]], ids=["one-file", "two-files"])
def test_the_client_certificate_is_shown(
    authority: trustme.CA,
    bundle: Path,
    client: Path,
    hook_of: Callable[..., Calls],
    files: list[str],
    verify: Any,
) -> None:
    """The connection's certificate is shown to a server that asks for one."""
    extra = {
        "cert": ",".join(str(client / file) for file in files),
        "verify": str(bundle) if verify == "bundle" else verify,
    }
    with TlsServer(authority, asks=True) as server:
        calls = hook_of(server.url, connection={"extra": extra})
        assert calls("get_operation", "operations/x").name == "operations/x"
    assert server.clients == ["client@example.com"]


# Python 3.10 warns of the transport, which aiohttp can't have got hold of.
@pytest.mark.filterwarnings("ignore:.*_SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")
def test_no_client_certificate(authority: trustme.CA, bundle: Path, hook_of: Callable[..., Calls]) -> None:
    """Without one the server hangs up, which is an error of the call."""
    with TlsServer(authority, asks=True) as server:
        calls = hook_of(server.url, connection={"extra": {"verify": str(bundle)}})
        with pytest.raises(OperationsCallError):
            calls("get_operation", "operations/x")
    assert server.clients == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unreadable_client_certificate(
    server: TlsServer, bundle: Path, tmp_path: Path, hook_of: Callable[..., Calls], content: str | None
) -> None:
    """A file that isn't there, or is none, is named before anything is sent."""
    file = tmp_path / "client.pem"
    if content is not None:
        file.write_text(content)
    calls = hook_of(server.url, connection={"extra": {"verify": str(bundle), "cert": str(file)}})
    with pytest.raises(InvalidConnection, match=r"'cert' names a client certificate .*client\.pem"):
        calls("get_operation", "operations/x")
    assert server.requests == []


async def test_files_are_read_again(
    authority: trustme.CA,
    bundle: Path,
    client: Path,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A certificate that was renewed under the same name is shown after 5 minutes: a triggerer outlives many of them.

    While it can't be read, the one before is shown. What is wrong with the connection is said once.
    """
    with TlsServer(authority, asks=True) as server:
        extra = {"verify": str(bundle), "cert": str(client / "one.pem"), "odd": "1"}
        set_connection(monkeypatch, server.url, "ops", extra=extra)
        async with OperationsAsyncHook("ops") as hook:
            await hook.poll("operations/x")
            renewed = authority.issue_cert("renewed@example.com").private_key_and_cert_chain_pem
            renewed.write_to_path(str(client / "one.pem"))
            await hook.poll("operations/x")
            moved.now += 301
            await hook.poll("operations/x")
            (client / "one.pem").unlink()
            moved.now += 301
            await hook.poll("operations/x")
    shown = ["client@example.com", "client@example.com", "renewed@example.com", "renewed@example.com"]
    assert server.clients == shown
    assert caplog.text.count("going on with what was read before") == 1
    assert caplog.text.count("unknown extras") == 1


async def test_files_are_read_again_while_airflow_is_away(
    authority: trustme.CA,
    bundle: Path,
    client: Path,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate is renewed whether or not Airflow can be asked; one that is half there is read half a minute later."""

    async def away(*_: object, **__: object) -> None:
        raise ConnectionError("the API server is away")

    with TlsServer(authority, asks=True) as server:
        extra = {"verify": str(bundle), "cert": str(client / "one.pem")}
        set_connection(monkeypatch, server.url, "ops", extra=extra)
        async with OperationsAsyncHook("ops") as hook:
            await hook.poll("operations/x")
            monkeypatch.setattr("airflow_provider_operations.hooks._client.get_async_connection", away)
            (client / "one.pem").write_text("half")
            moved.now += 301
            await hook.poll("operations/x")
            renewed = authority.issue_cert("renewed@example.com").private_key_and_cert_chain_pem
            renewed.write_to_path(str(client / "one.pem"))
            moved.now += 31
            await hook.poll("operations/x")
    assert server.clients == ["client@example.com", "client@example.com", "renewed@example.com"]
