"""A token server and a service that takes its tokens, on one loopback socket."""

from __future__ import annotations

import base64
import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT = ("the-client", "CLIENT-SECRET")


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    """One for all servers, as making it takes longer than a test."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class TokenServer:
    """
    Serves ``/token`` (RFC 6749, RFC 7523) and ``/v1/...``, whose operations are done.

    :param lasts_s: ``expires_in`` of a token; ``None`` leaves it out.
    """

    def __init__(self, lasts_s: float | None = 3300) -> None:
        self.lasts_s = lasts_s
        self.issued: list[str] = []
        self.asked: list[dict[str, Any]] = []
        """Forms that a token was issued for."""
        self.served: list[tuple[str, str, str | None]] = []
        """Method, path and Authorization of every request but those for tokens."""
        self.refusals: list[tuple[int, Any]] = []
        """Answers to give instead of a token, first to last."""
        self.accepts: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self._key = _key()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    def service_account(self) -> dict[str, str]:
        """Return the key file of a service account that this server knows."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "key-of-the-robot",  # Airflow masks it, whatever it is
            "private_key": pem.decode(),
            "client_email": "robot@p.iam.gserviceaccount.com",
            "token_uri": self.token_url,
        }

    def revoke(self) -> None:
        """No token issued so far is accepted any more."""
        self.accepts.clear()

    def issue(self) -> str:
        """Return a token that is accepted from now on."""
        token = f"TOKEN-{len(self.issued) + 1}-{'x' * 8}"
        self.issued.append(token)
        self.accepts.add(token)
        return token

    def _token(self, form: dict[str, str], authorization: str | None) -> tuple[int, Any]:
        self.gate.wait(30)
        if self.refusals:
            return self.refusals.pop(0)
        if form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            claims = jwt.decode(
                form["assertion"],
                self._key.public_key(),
                algorithms=["RS256"],
                audience="https://oauth2.googleapis.com/token",
                options={"verify_iat": False},
            )
            form = {**form, **{key: str(value) for key, value in claims.items()}}
        else:
            basic = base64.b64encode(":".join(CLIENT).encode()).decode()
            posted = (form.get("client_id"), form.get("client_secret"))
            if authorization != f"Basic {basic}" and posted != CLIENT:
                return 401, {"error": "invalid_client", "error_description": f"no such client as {posted}"}
        self.asked.append(form)
        answer: dict[str, Any] = {"access_token": self.issue(), "token_type": "Bearer"}
        return 200, answer if self.lasts_s is None else {**answer, "expires_in": self.lasts_s}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                authorization = self.headers.get("authorization")
                path = urlsplit(self.path).path
                if path == "/token":
                    status, answer = outer._token(dict(parse_qsl(body)), authorization)
                elif path.endswith(":generateAccessToken"):  # IAM, for impersonation
                    outer.served.append((self.command, path, authorization))
                    outer.asked.append(json.loads(body))
                    status, answer = 200, {"accessToken": outer.issue(), "expireTime": "2099-01-01T00:00:00Z"}
                else:
                    outer.served.append((self.command, path, authorization))
                    known = (authorization or "").removeprefix("Bearer ") in outer.accepts
                    status = 200 if known else 401
                    answer = {"name": "operations/x", "done": True, "response": {}}
                    if not known:
                        answer = {"error": {"code": 401, "message": "token?", "status": "UNAUTHENTICATED"}}
                payload = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
                self.end_headers()
                self.wfile.write(payload)

        return Handler
