"""The texts that people look for are those that the code makes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import airflow_provider_operations
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError
from airflow_provider_operations.hooks import OperationsHook
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

from .markdown import DOCS, codes, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = [
    codes(row[0])[0]
    for section in sections((DOCS / "troubleshooting.md").read_text(encoding="utf-8"))
    for row in section.rows
    if row[0] != "text"
]
PROVOKED = [text for text in TEXTS if text.startswith("failed: ")]
WRITTEN = [text for text in TEXTS if text not in PROVOKED]


def _templates(tree: ast.AST) -> Iterator[str]:
    """Yield the texts in a module but docstrings, ``…`` for what is put in."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in skipped:
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
                )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield re.sub(r"%[sdrg]|%\.\d+f|{}", "…", node.value)


@cache
def in_the_code() -> tuple[str, ...]:
    """Return every text in the package."""
    package = Path(airflow_provider_operations.__file__).parent
    return tuple(
        text
        for file in package.rglob("*.py")
        if "emulator" not in file.parts
        for text in _templates(ast.parse(file.read_text(encoding="utf-8")))
    )


def is_in_the_code(text: str) -> bool:
    """Tell whether a text, or at least its part that isn't put in, is there as it stands."""
    return any(text in template for template in in_the_code())


@pytest.mark.parametrize("text", WRITTEN)
def test_texts(text: str) -> None:
    """Word for word, with ``…`` exactly where the code puts something in."""
    assert len(text.replace("…", "").strip(" :(),;")) > 8, "this is in everything"
    assert is_in_the_code(text)


def test_other_texts_are_not_in_the_code() -> None:
    """What the test above is worth."""
    assert not is_in_the_code("… has no hots, and no base_url is given: nothing to send to")
    assert not is_in_the_code("the answer is no operation at all: …")
    assert not is_in_the_code("Say what became of it")  # a docstring's


STATUSES = {text: int(text[-3:]) for text in PROVOKED if re.fullmatch(r"failed: HTTP \d{3}", text)}


def _error(monkeypatch: pytest.MonkeyPatch, host: str) -> str:
    set_connection(monkeypatch, host, "x", extra={"timeout": 5})
    with (
        OperationsHook("x", retries=Retries(1, delay_s=0)) as hook,
        pytest.raises(OperationsCallError) as raised,
    ):
        hook.get_operation("operations/x")
    return str(raised.value)


@pytest.mark.parametrize("text", STATUSES)
def test_refusals(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status is shown as the page says."""
    body = b'{"error": {"code": 0, "message": "no"}}'
    with RawServer(sends(answer(STATUSES[text], body))) as server:
        assert text in _error(monkeypatch, server.url)


def test_what_the_network_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port without a server, a host without an address and a foreign certificate are called as on the page."""
    import ssl

    import trustme

    with RawServer(lambda _: None) as server:
        closed = server.url
    seen = [_error(monkeypatch, closed), _error(monkeypatch, "nowhere.invalid")]

    def greet(connection: object) -> None:  # pragma: no cover  never gets there
        raise AssertionError(connection)

    with RawServer(greet) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        seen.append(_error(monkeypatch, server.url.replace("http:", "https:")))
    named = [text for text in PROVOKED if text not in STATUSES]
    assert len(named) == len(seen)
    assert all(any(text in error for error in seen) for text in named), seen


def test_no_text_is_there_twice() -> None:
    """Each is explained once."""
    assert sorted(set(TEXTS)) == sorted(TEXTS)
    assert len(PROVOKED) >= 9
