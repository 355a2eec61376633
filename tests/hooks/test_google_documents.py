"""
Every operations resource of every API that Google publishes: our requests against those of Google's own client.

The documents are those of the installed google-api-python-client. A connection is derived from each, and what the
hook makes of it is compared with what the client, built from the same document, would send.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from airflow_provider_operations._connection.settings import ConnectionFields, read_settings
from airflow_provider_operations._protocol.request import InvalidName, Request, Service
from airflow_provider_operations.hooks import OperationsHook
from tests.support.raw_server import RawServer, Seen, answer, sends

from .google_documents import (
    VERBS,
    Document,
    GoogleClient,
    Method,
    Sent,
    Spelling,
    Unreachable,
    document,
    documents,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hooks import Calls

COUNTED_IN = "2.202.0"

counted = pytest.mark.skipif(
    version("google-api-python-client") != COUNTED_IN,
    reason=f"the numbers are those of google-api-python-client {COUNTED_IN}; the documents change",
)

TIMEOUT = timedelta(seconds=2.5)
FILTER, PAGE_SIZE, PAGE_TOKEN = 'done = false AND metadata.x:"a/b ü"', 7, "t/+=&%?"


@dataclass
class Pair:
    """The same call, made by us and by Google's client."""

    method: Method
    ours: Sent
    theirs: Sent


@dataclass(repr=False)
class Survey:
    """
    What a pass over all documents brought.

    :param prefixes: by document; the first is the connection's, the others are hook arguments.
    :param extras: by document: the settings that aren't the default.
    """

    methods: list[Method] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, list[str]] = field(default_factory=dict)
    extras: dict[str, dict[str, str]] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)
    documents: int = 0


@pytest.fixture(scope="module")
def survey() -> Survey:
    """Go through the documents once."""
    found = Survey()
    with pytest.MonkeyPatch.context() as patch:
        # With these the hook would read a CA bundle for each of the connections.
        patch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        patch.delenv("CURL_CA_BUNDLE", raising=False)
        for each in documents():
            found.documents += 1
            found.hosts |= each.hosts
            if methods := each.methods():
                found.methods += methods
                _compare(each, methods, found, patch)
    return found


def _compare(each: Document, methods: list[Method], found: Survey, patch: pytest.MonkeyPatch) -> None:
    spellings: dict[Method, Spelling] = {}
    for method in methods:
        try:
            spellings[method] = method.spelling()
        except Unreachable as reason:
            found.unreachable[str(method)] = str(reason)
    prefixes = list(dict.fromkeys(spelling.path_prefix for spelling in spellings.values()))
    extra: dict[str, str] = {}
    for spelling in spellings.values():
        for key, value in spelling.extra.items():
            assert extra.setdefault(key, value) == value, f"{each.name} needs two values for {key}"
    found.prefixes[each.name], found.extras[each.name] = prefixes, extra
    services = _services(each.root_url, prefixes, extra, patch)
    with GoogleClient(each, methods) as client:
        for method, spelling in spellings.items():
            service = services[spelling.path_prefix]
            for turn, values in enumerate(method.path_values()):
                for full in (True, False) if method.verb == "list" and turn == 0 else (True,):
                    ours = Sent.by_us(service.base_url, _our_request(service, method, values, full=full))
                    theirs = Sent.by_google(client.request(method, _arguments(method, values, full=full)))
                    found.pairs.append(Pair(method, ours, theirs))


def _services(
    root_url: str, prefixes: list[str], extra: dict[str, str], patch: pytest.MonkeyPatch
) -> dict[str, Service]:
    """Ask the hook; the first prefix is the connection's, the others are arguments of the hook."""
    first, *others = prefixes
    if first != "v1":
        extra = {"path_prefix": first, **extra}
    connection = {"conn_type": "operations", "host": root_url, "extra": extra}
    patch.setenv("AIRFLOW_CONN_GOOGLE", json.dumps(connection))
    hooks = {first: OperationsHook("google")}
    hooks |= {prefix: OperationsHook("google", path_prefix=prefix) for prefix in others}
    return {prefix: hook.settings.service for prefix, hook in hooks.items()}


def _our_request(service: Service, method: Method, values: dict[str, str], *, full: bool) -> Request[Any]:
    name = method.name_of(values)
    if method.verb == "wait":
        return service.wait_operation(name, TIMEOUT)
    if method.verb == "list":
        taken = [
            value if full and method.takes(key) else None
            for key, value in (("filter", FILTER), ("pageSize", PAGE_SIZE), ("pageToken", PAGE_TOKEN))
        ]
        return service.list_operations(name, *taken)  # type: ignore[arg-type]  # in this order
    request: Request[Any] = getattr(service, f"{method.verb}_operation")(name)
    return request


def _arguments(method: Method, values: dict[str, str], *, full: bool) -> dict[str, Any]:
    """Return what Google's client is called with."""
    given: dict[str, Any] = {}
    if method.verb == "wait":
        given = {"body": {"timeout": "2.5s"}} if method.has_body else {"timeout": "2.5s"}
    elif method.verb == "list" and full:
        given = {"filter": FILTER, "pageSize": PAGE_SIZE, "pageToken": PAGE_TOKEN}
        given = {key: value for key, value in given.items() if method.takes(key)}
    return {**values, **given}


# --- every document --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_requests_agree(survey: Survey, verb: str) -> None:
    """Whatever API it is, our request has the method, URL, query and body of the one Google's client makes."""
    pairs = [pair for pair in survey.pairs if pair.method.verb == verb]
    compared = {str(pair.method) for pair in pairs}
    described = {str(method) for method in survey.methods if method.verb == verb}
    assert compared
    assert compared == described - survey.unreachable.keys()
    assert [pair for pair in pairs if pair.ours != pair.theirs][:5] == []


@counted
def test_how_many(survey: Survey) -> None:
    """
    So many methods, and documents that have them, are gone through: all there are.

    Counted are the methods of every resource that is called ``operations``, in all documents. For get, wait and
    list it is told apart whether the answer is, or lists, exactly the standard operation (name, done, error,
    metadata, response). The answer of cancel and delete is empty; 454 of the 465 cancels are in 174 of the 256
    documents with a standard get.
    """
    groups: dict[tuple[str, bool | None], list[Method]] = {}
    for method in survey.methods:
        if method.of_operations:
            groups.setdefault((method.verb, method.standard), []).append(method)
    assert survey.documents == 607
    assert {key: (len(methods), len(_documents(methods))) for key, methods in groups.items()} == {
        ("get", True): (687, 256),
        # container, deploymentmanager, sqladmin, storage; what apihub calls an operation is none.
        ("get", False): (11, 9),
        ("cancel", None): (465, 182),
        ("delete", None): (449, 155),
        ("wait", True): (277, 11),
        ("list", True): (559, 209),
        ("list", False): (11, 9),
    }
    standard = _standard(survey)
    cancels = [method for method in groups["cancel", None] if method.document in standard]
    assert (len(cancels), len(_documents(cancels))) == (454, 174)
    assert Counter(method.has_body for method in survey.methods if method.verb == "wait") == {
        False: 271,
        True: 6,
    }


@counted
def test_resources_of_another_name(survey: Survey) -> None:
    """A few resources of standard operations are called otherwise; all but their lists are reached as well."""
    found = Counter(
        (method.verb, str(method) in survey.unreachable)
        for method in survey.methods
        if not method.of_operations
    )
    assert found == {("get", False): 9, ("cancel", False): 1, ("delete", False): 1, ("list", True): 6}


@counted
def test_prefixes(survey: Survey) -> None:
    """The prefix is a bare version but in these documents; three have two, the second as a hook argument."""
    longer = {name: found for name, found in survey.prefixes.items() if not all(map(_is_version, found))}
    assert (len(survey.prefixes), len(longer)) == (270, 12)
    assert longer == {
        "deploymentmanager:alpha": ["deploymentmanager/alpha"],
        "deploymentmanager:v2": ["deploymentmanager/v2"],
        "deploymentmanager:v2beta": ["deploymentmanager/v2beta"],
        "dns:v1": ["dns/v1"],
        "dns:v1beta2": ["dns/v1beta2"],
        "drive:v3": ["drive/v3/operations"],
        "pubsublite:v1": ["v1/admin"],
        "speech:v1": ["v1/operations", "v1"],
        "speech:v1p1beta1": ["v1p1beta1/operations", "v1p1beta1"],
        "sqladmin:v1beta4": ["sql/v1beta4"],
        "storage:v1": ["storage/v1"],
        "videointelligence:v1": ["v1/operations", "v1"],
    }
    gets = [
        method
        for method in survey.methods
        if method.of_operations and method.verb == "get" and method.standard
    ]
    assert Counter((_is_version(method.spelling().path_prefix), method.flat) for method in gets) == {
        (True, False): 673,
        (True, True): 7,  # all of appengine
        (False, False): 6,
        (False, True): 1,  # drive
    }


@counted
def test_documents_by_what_they_need(survey: Survey) -> None:
    """About half the documents need no setting but the host, as ``v1`` is their prefix; ten need another one."""
    assert Counter(prefixes[0] == "v1" for prefixes in survey.prefixes.values()) == {True: 127, False: 143}
    assert {name: extra for name, extra in survey.extras.items() if extra} == {
        "checks:v1alpha": {"wait_timeout_in": "body"},
        "datalabeling:v1beta1": {"cancel_method": "GET"},
        "firebaseappdistribution:v1": {"wait_timeout_in": "body"},
        "run:v1": {"wait_timeout_in": "body"},
        "run:v2": {"wait_timeout_in": "body"},
        "sqladmin:v1": {"cancel_suffix": "/cancel"},
        "sqladmin:v1beta4": {"cancel_suffix": "/cancel"},
        "storage:v1": {"cancel_suffix": "/cancel"},
        "translate:v3": {"wait_timeout_in": "body"},
        "translate:v3beta1": {"wait_timeout_in": "body"},
    }


@counted
def test_out_of_reach(survey: Survey) -> None:
    """One wait goes by GET, and six lists are of another name: for these there is no setting."""
    assert survey.unreachable == {
        "cloudsearch:v1 operations.lro.list": "lists lro",
        "colaboratory:v1 operations.wait": "GET :wait",
        "spanner:v1 projects.instanceConfigOperations.list": "lists instanceConfigOperations",
        "spanner:v1 projects.instances.backupOperations.list": "lists backupOperations",
        "spanner:v1 projects.instances.databaseOperations.list": "lists databaseOperations",
        "spanner:v1 projects.instances.instancePartitionOperations.list": "lists instancePartitionOperations",
        "storagetransfer:v1 transferOperations.list": "lists transferOperations",
    }


@counted
def test_a_wait_by_get_is_a_start() -> None:
    """The wait that goes by GET can be had as a call that answers with an operation, which it is."""
    colaboratory = document("colaboratory:v1")
    (wait,) = (method for method in colaboratory.methods() if method.verb == "wait")
    service = Service(colaboratory.root_url)
    ours = service.start_operation(
        "operations/x:wait", method="GET", query={"timeout": "30s"}, idempotent=True
    )
    with GoogleClient(colaboratory, [wait]) as client:
        theirs = client.request(wait, {"name": "operations/x", "timeout": "30s"})
    assert Sent.by_us(service.base_url, ours) == Sent.by_google(theirs)


def test_nothing_is_lost_without_a_body(survey: Survey) -> None:
    """No standard cancel has anything to say in its body, so that sending none says the same as ``{}``."""
    standard = _standard(survey)
    cancels = [method for method in survey.methods if method.verb == "cancel" and method.document in standard]
    assert {method.has_body for method in cancels} == {True, False}
    assert {method.body_fields for method in cancels} == {()}


def test_lists_need_no_more(survey: Survey) -> None:
    """No list demands a parameter that the hook has no argument for."""
    demanded = {
        (str(method), name)
        for method in survey.methods
        if method.verb == "list" and method.of_operations
        for name, parameter in method.parameters.items()
        if parameter.get("required") and parameter["location"] == "query"
    }
    assert demanded == set()


def test_google_tokens_go_to_all_of_them(survey: Survey) -> None:
    """The hosts of all APIs, regional ones included, are among those that Google tokens are sent to unasked."""
    assert len(survey.hosts) > 600
    for host in survey.hosts:
        settings = read_settings(ConnectionFields("g", host=host, extra={"auth": "google"}), {})
        assert settings.service.base_url == f"https://{host}"


# --- characters ------------------------------------------------------------------------------------------------


def test_characters_of_a_name() -> None:
    """In ``{+name}`` we encode each character as Google's client does, but brackets; some we refuse."""
    cloudbuild = document("cloudbuild:v1")
    (get,) = (
        method for method in cloudbuild.methods() if method.verb == "get" and len(method.resources) == 1
    )
    service = Service(cloudbuild.root_url)
    refused, others = "", ""
    with GoogleClient(cloudbuild, [get]) as client:
        for character in [*map(chr, range(0x20, 0x7F)), "ü", "€", "😀"]:
            name = f"operations/a{character}b"
            theirs = Sent.by_google(client.request(get, {"name": name}))
            try:
                ours = Sent.by_us(service.base_url, service.get_operation(name))
            except InvalidName:
                refused += character
                continue
            if ours != theirs:
                assert unquote(ours.url) == unquote(theirs.url)
                others += character
    assert (refused, others) == ("#?\\", "[]")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("appengine:v1", {"appsId": "example.com:app", "operationsId": "x@y=="}, id="appengine"),
        pytest.param("storage:v1", {"bucket": "a:b", "operationId": "x+y"}, id="storage"),
        pytest.param("drive:v3", {"name": "x:y"}, id="drive"),
    ],
)
def test_reserved_characters_of_a_flat_name(name: str, values: dict[str, str]) -> None:
    """In ``{bucket}`` Google's client escapes what a path need not have escaped; the decoded URL is the same."""
    each = document(name)
    get = next(method for method in each.methods() if method.verb == "get")
    service = Service(each.root_url, path_prefix=get.spelling().path_prefix)
    ours = Sent.by_us(service.base_url, service.get_operation(get.name_of(values)))
    with GoogleClient(each, [get]) as client:
        theirs = Sent.by_google(client.request(get, values))
    assert ours.url != theirs.url
    assert ours._replace(url=unquote(ours.url)) == theirs._replace(url=unquote(theirs.url))


# --- on the wire -----------------------------------------------------------------------------------------------


def _done_operation_and_page(name: str) -> bytes:
    """Return an answer that is a done operation, and also the page before another."""
    body = {"name": name, "done": True, "response": {}, "operations": [], "nextPageToken": PAGE_TOKEN}
    return answer(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        pytest.param("cloudbuild:v1", "get", id="cloudbuild-get"),
        pytest.param("cloudbuild:v1", "cancel", id="cloudbuild-cancel"),
        pytest.param("storage:v1", "get", id="storage-get"),
        pytest.param("storage:v1", "cancel", id="storage-cancel-by-slash"),
        pytest.param("storage:v1", "list", id="storage-list"),
        pytest.param("sqladmin:v1beta4", "cancel", id="sqladmin-cancel-by-slash"),
        pytest.param("datalabeling:v1beta1", "cancel", id="datalabeling-cancel-by-GET"),
        pytest.param("datalabeling:v1beta1", "delete", id="datalabeling-delete"),
        pytest.param("datalabeling:v1beta1", "list", id="datalabeling-list"),
        pytest.param("speech:v1", "get", id="speech-get-below-v1-operations"),
        pytest.param("speech:v1", "list", id="speech-list"),
        pytest.param("videointelligence:v1", "cancel", id="videointelligence-cancel-below-v1-operations"),
        pytest.param("drive:v3", "get", id="drive-get"),
        pytest.param("aiplatform:v1", "wait", id="aiplatform-wait-by-query"),
        pytest.param("run:v2", "wait", id="run-wait-by-body"),
        pytest.param("serviceusage:v1", "list", id="serviceusage-list-of-all"),
    ],
)
def test_on_the_wire(hook_of: Callable[..., Calls], name: str, verb: str) -> None:
    """What the server gets from our hooks is what it gets from Google's client, to the byte of path and body."""
    each = document(name)
    method = next(method for method in each.methods() if method.verb == verb)
    values = next(method.path_values())
    path_prefix, extra = method.spelling()
    with RawServer(sends(_done_operation_and_page(method.name_of(values)))) as server:
        calls = hook_of(server.url, connection={"extra": extra}, path_prefix=path_prefix)
        if verb == "list":
            calls.list(method.name_of(values), FILTER, PAGE_SIZE)
        else:
            calls(f"{verb}_operation", method.name_of(values), *([TIMEOUT] if verb == "wait" else []))
        ours = [_on_the_wire(seen) for seen in server.seen]

        server.seen.clear()
        arguments = _arguments(method, values, full=True)
        arguments.pop("pageToken", None)
        with GoogleClient(each, [method], server.url) as client:
            request = client.request(method, arguments)
            page = request.execute()
            if verb == "list":
                client.resource(method.resources).list_next(request, page).execute()
        theirs = [_on_the_wire(seen) for seen in server.seen]
    assert ours == theirs
    assert len(ours) == (2 if verb == "list" else 1)


def _on_the_wire(seen: Seen) -> tuple[Sent, list[str], list[str]]:
    method, target, protocol = seen.line.split(" ")
    assert protocol == "HTTP/1.1"
    # Google's client says of a GET, too, that its body is 0 bytes long.
    length = [] if method == "GET" else seen.all("content-length")
    return Sent.of(method, target, seen.body), length, seen.all("content-type")


def _documents(methods: list[Method]) -> set[str]:
    return {method.document for method in methods}


def _standard(survey: Survey) -> set[str]:
    """Documents with a standard get of operations."""
    return _documents(
        [
            method
            for method in survey.methods
            if method.of_operations and method.verb == "get" and method.standard
        ]
    )


def _is_version(prefix: str) -> bool:
    return re.fullmatch(r"v\d+\w*", prefix) is not None
