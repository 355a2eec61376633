"""Credentials go to the host that was checked, whoever reads the URL."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
import urllib3
import yarl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_operations._connection import settings as connection
from airflow_provider_operations._connection.settings import (
    ConnectionFields,
    InvalidConnection,
    read_settings,
)
from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations.hooks._base import check_origin
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

from .attacks import FUZZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Told


@pytest.fixture
def proxy() -> Iterator[RawServer]:
    """A proxy that notes where a request would have gone."""
    with RawServer(sends(answer(502))) as running:
        yield running


AMBIGUOUS = [
    r"https://127.0.0.1\.googleapis.com",
    r"https://127.0.0.1\@api.googleapis.com",
    "https://api.googleapis.com#",
    "https://api.googleapis.com?",
    "https://api.googleapis.com#.example.com",
    "\x01https://api.googleapis.com",
    "https://api.googleapis.com\t",
    "https://127.0.0.1%2f.googleapis.com",
    "https://127.0.0.1;.googleapis.com",
    "https://127.0.0.1,.googleapis.com",
    "https://127.0.0.1&.googleapis.com",
    "https://127.0.0.1\u2215.googleapis.com",
    "https://127.0.0.1\uff0f.googleapis.com",
    "https://127.0.0.1\uff03.googleapis.com",
    "https://[::1].googleapis.com",
    "https://[::1%25.googleapis.com]",
    "https://api..googleapis.com",
    "https://api.googleapis.com:",
    "https://api.googleapis.com:0",
    "https://api.googleapis.com:\u0664\u0664\u0663",
    "https:///api.googleapis.com",
    "https:api.googleapis.com",
    "https://api.googleapis.com/a/%2e%2e/b",
    "https://api.googleapis.com/a/%2E./b",
    "https://api.googleapis.com/a/./b",
    "https://api.googleapis.com/a/..;v=1/b",
    "https://api.googleapis.com/a/.%3Bv=1/b",
    "https://api.googleapis.com/a%2f..%2fb",
    "https://api.googleapis.com/a%5c..%5cb",
    r"https://api.googleapis.com/a\..\b",
    "https://api.googleapis.com/a%0d%0ab",
    "https://api.googleapis.com/a%",
    "https://api.googleapis.com//127.0.0.1/b",
]


@pytest.mark.parametrize("base_url", AMBIGUOUS, ids=ascii)
def test_ambiguous_base_urls_are_refused(ask: Callable[..., Told], proxy: RawServer, base_url: str) -> None:
    """A base URL that parsers may read in several ways is refused before anything is sent, even to a proxy."""
    told = ask(
        base_url=base_url,
        host="https://service.example",
        password="TOKEN",
        extra={"allowed_hosts": "*.googleapis.com", "proxies": {"https": proxy.url}},
    )
    assert proxy.seen == []
    assert told.operation is None
    assert "base_url" in told.problem


@pytest.mark.parametrize(
    "host",
    [
        url
        for given in AMBIGUOUS
        for url in dict.fromkeys([given, given.removeprefix("https://")])
        if url == url.strip()
    ],
    ids=ascii,
)
def test_ambiguous_hosts_are_refused(host: str) -> None:
    """The connection's own host is read as strictly, with and without a scheme."""
    with pytest.raises(InvalidConnection, match="its host"):
        read_settings(ConnectionFields("c", host=host), {})


@pytest.mark.parametrize(
    ("given_url", "written"),
    [
        ("HTTPS://API.Example.com", "https://api.example.com"),
        ("https://my_service:08080", "https://my_service:8080"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://stra\u00dfe.example", "https://xn--strae-oqa.example"),
        ("https://[0:0:0:0:0:0:0:1]:8443", "https://[::1]:8443"),
        ("https://h.example/a%7eb/%c3%bc/%2e5", "https://h.example/a~b/%C3%BC/.5"),
        ("https://h.example/\u00fc b".replace(" ", "%20"), "https://h.example/%C3%BC%20b"),
        ("https://h.example/a%2fb;v=1", "https://h.example/a%2Fb;v=1"),
        ("https://h.example./", "https://h.example."),
    ],
)
def test_urls_are_written_anew(given_url: str, written: str) -> None:
    """What is accepted is sent as it was read: lower case, punycode, the fewest escapes."""
    assert read_settings(ConnectionFields("c", host=given_url), {}).service.base_url == written


@pytest.mark.parametrize(
    ("allowed", "base_url"),
    [
        ("*.b\u00fccher.example", "https://api.b\u00fccher.example"),
        ("*.xn--bcher-kva.example", "https://api.b\u00fccher.example"),
        ("B\u00dcCHER.example", "https://xn--bcher-kva.example"),
        ("::1", "https://[0::1]"),
        ("[::1]", "https://[::1]"),
    ],
)
def test_allowed_hosts_in_any_spelling(allowed: str, base_url: str) -> None:
    """Allowed hosts are compared as they are sent to."""
    fields = ConnectionFields("c", host="h.example", password="t", extra={"allowed_hosts": allowed})
    assert read_settings(fields, {"base_url": base_url}).service.base_url


def test_the_client_is_asked_too(
    ask: Callable[..., Told], proxy: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a URL came through that a client reads otherwise, it would still not be sent."""
    monkeypatch.setattr(connection, "checked_url", lambda url, _what: url)
    host = r"https://127.0.0.1\.example.com"
    told = ask(host=host, password="TOKEN", extra={"proxies": {"https": proxy.url}})
    assert proxy.seen == []
    assert told.operation is None


def test_another_origin_is_named() -> None:
    """The refusal says both where the client would go and where it should."""
    with pytest.raises(InvalidConnection) as refused:
        check_origin("https://api.example.com", "https", "127.0.0.1", None)
    assert (
        str(refused.value)
        == "the request would go to https://127.0.0.1:443 instead of https://api.example.com"
    )


def test_inherited_run_keeps_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    """``HttpHook.run``, which the hook inherits, sends by the same session: not even a redirect leads it away."""
    from airflow_provider_operations.hooks import OperationsHook

    with RawServer(sends(answer())) as elsewhere:
        moved = answer(307, b"", {"Location": f"{elsewhere.url}/x"})
        with RawServer(sends(moved)) as server:
            set_connection(monkeypatch, server.url, "ops", password="TOKEN")
            hook = OperationsHook("ops")
            hook.method = "GET"
            with pytest.raises(InvalidConnection):
                hook.run("/x", extra_options={"allow_redirects": True})
            assert len(server.seen) == 1
        assert elsewhere.seen == []


# --- by search -------------------------------------------------------------------------------------------------

PIECES = [
    *("http:", "https:", "HTTPS:", "//", "/", "\\", "@", ":", "?", "#", ";", "%", ".", "..", "*", "[", "]", "::1"),
    *("%2e", "%2F", "%5c", "%00", "%23", "%40", "%3a", "%252e", " ", "\t", "\n", "\x00", "\x85", "\u3002"),
    *("\uff0f", "\uff20", "\u2024", "\u200d", "\u00df", "\u00fc", "\U0001f600", "xn--bcher-kva", "_", "-", "443"),
    *("127.0.0.1", "0x7f.1", "localhost", "evil.example", "api.googleapis.com", ".googleapis.com", "a", "b/c"),
]  # fmt: skip

pieces = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=8).map("".join)
urls = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["https://", "http://", ""]) | pieces,
        st.sampled_from(["api.googleapis.com", "h.example", ""]) | pieces,
        st.sampled_from([".googleapis.com", ""]) | pieces,
        st.sampled_from(["", ":443", "/", "/v1"]) | pieces,
        pieces,
    ),
)


def sent_by_requests(url: str) -> tuple[str, str | None, int | None, str]:
    """Where requests goes, by the parsers that it makes a request and a connection with."""
    prepared = requests.Request("GET", url).prepare()
    made = urllib3.util.parse_url(prepared.url or "")
    read = urlsplit(prepared.url or "")
    assert (made.scheme, made.hostname, made.port) == (read.scheme, read.netloc and made.hostname, read.port)
    assert (made.hostname or "").strip("[]") == read.hostname
    return read.scheme, read.hostname, read.port, prepared.path_url


def sent_by_aiohttp(url: str) -> tuple[str, str | None, int | None, str]:
    """Where aiohttp goes."""
    read = yarl.URL(url, encoded=True)
    return read.scheme, read.raw_host, read.explicit_port, read.raw_path_qs


@settings(max_examples=FUZZ or 500, deadline=None)
@given(urls)
@example(r"https://127.0.0.1\.googleapis.com")
@example("https://[::ffff:127.0.0.1]/a")
@example("https://api.googleapis.com/%41%2f;x")
def test_whatever_is_accepted_is_what_was_checked(url: str) -> None:
    """No URL takes a token to a host that isn't Google's, nor to a path above the checked one."""
    fields = ConnectionFields("c", extra={"auth": "google"})
    with suppress(InvalidConnection):
        base_url = read_settings(fields, {"base_url": url}).service.base_url
        _reaches(base_url, "/v1/operations/x")
        assert (urlsplit(base_url).hostname or "").endswith(".googleapis.com")


@settings(max_examples=FUZZ or 500, deadline=None)
@given(urls)
@example("https://[::ffff:127.0.0.1]/a")
@example("http://b\u00fccher.example/\u00fc")
def test_whatever_a_host_is(url: str) -> None:
    """A connection's host is read alike by us and by both clients, whatever it is."""
    with suppress(InvalidConnection):
        settings = read_settings(ConnectionFields("c", host=url), {})
        _reaches(settings.service.base_url, "/v1/operations/x")


@settings(max_examples=FUZZ or 300, deadline=None)
@given(pieces)
@example("a/..;x/b")
@example("a/b?c")
def test_whatever_a_name_is(name: str) -> None:
    """A name, a parent and a path stay below the prefix, in both clients."""
    service: Any = read_settings(ConnectionFields("c", host="https://h.example/base"), {}).service
    for make in (
        service.get_operation,
        service.start_operation,
        lambda name: service.list_operations(name, None, None, None),
    ):
        with suppress(InvalidName):
            target = make(name).target
            _reaches(service.base_url, target)
            assert target.startswith("/")
            assert not target.startswith("//")


def _reaches(base_url: str, target: str) -> None:
    parts = urlsplit(base_url)
    expected = (parts.scheme, parts.hostname, parts.port, parts.path + target)
    assert sent_by_requests(base_url + target) == expected
    assert sent_by_aiohttp(base_url + target) == expected
    segments = [segment.partition(";")[0] for segment in unquote(parts.path + target).split("/")]
    assert not {".", ".."} & set(segments)
