"""Whose certificates are trusted."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_operations.exceptions import OperationsCallErrorFinal

from .raw import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Calls


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def tls_url(certificate: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A TLS server and the requests it has read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                requests.append(wrapped.recv(65536))
                wrapped.sendall(answer())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}", requests
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # urllib3 says so, rightly
@pytest.mark.parametrize("environment", [False, True], ids=["", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("verify", ["bundle", False, "false"])
def test_trusted(
    tls_url: tuple[str, list[bytes]],
    certificate: Path,
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
    url, requests = tls_url
    if verify == "bundle":
        verify = str(certificate)
    calls = hook_of(url, connection={"extra": {"verify": verify}})
    assert calls("get_operation", "operations/x").name == "operations/x"
    assert requests[0].startswith(b"GET /v1/operations/x HTTP/1.1\r\n")


def test_untrusted(tls_url: tuple[str, list[bytes]], hook_of: Callable[..., Calls]) -> None:
    """A certificate that nobody vouches for ends the call at once: nothing is sent, a retry won't help."""
    url, requests = tls_url
    with pytest.raises(OperationsCallErrorFinal) as refused:
        hook_of(url, connection={"password": "tok"})("get_operation", "operations/x")
    failure = refused.value.failure
    assert (failure.sent, failure.may_pass, failure.attempts) == (False, False, 1)
    assert "certificate verify failed" in failure.problem
    assert requests == []
