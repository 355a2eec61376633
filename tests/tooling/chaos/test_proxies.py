"""The proxies of the chaos suite do what they are told, to whom they are told, and nothing to others."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.raw_server import RawServer, answer, sends

from .proxies import ApiFault, ApiProxy, Line, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

TASK = "01a2245d-04d7-7c28-a5fe-d06d8796aecd"
OTHER = "01a2245d-0502-7857-b3cb-52a901eb7880"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


class Proxied:
    """An API server, the proxy before it, and a run ``r1`` whose task instance is known by its first call."""

    def __init__(self, network: Network, session: requests.Session, server: RawServer) -> None:
        self.session = session
        self.proxy = ApiProxy(network, server.url)
        self.call("PATCH", f"/task-instances/{TASK}/run")

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        return self.session.request(method, f"{self.proxy.url}/execution{path}", json=body, timeout=5)


@pytest.fixture
def server() -> Iterator[RawServer]:
    body = json.dumps({"dag_run": {"run_id": "r1"}}).encode()
    with RawServer(sends(answer(body=body))) as server:
        yield server


@pytest.fixture
def proxied(network: Network, session: requests.Session, server: RawServer) -> Proxied:
    return Proxied(network, session, server)


def test_a_fault_hits_calls_of_its_run_alone(proxied: Proxied, server: RawServer) -> None:
    """A task instance's run is learned from the answer to its first call; another's calls go through."""
    fault = ApiFault("PUT", "/store/ti/", '"state": ?"started"', status=503)
    proxied.proxy.add("r1", fault)
    started = {"value": {"state": "started"}}
    assert proxied.call("PUT", f"/store/ti/{TASK}/key", started).status_code == 503
    assert proxied.call("PUT", f"/store/ti/{OTHER}/key", started).status_code == 200
    assert proxied.call("PUT", f"/store/ti/{TASK}/key", {"value": {"state": "starting"}}).status_code == 200
    assert proxied.call("GET", f"/store/ti/{TASK}/key", started).status_code == 200
    assert fault.fired == 1
    assert [seen.line.split()[0] for seen in server.seen] == ["PATCH", "PUT", "PUT", "GET"]


def test_a_path_names_its_run_too(proxied: Proxied) -> None:
    """XComs are addressed by the run."""
    proxied.proxy.add("r1", ApiFault("POST", "/xcoms/", status=503))
    assert proxied.call("POST", "/xcoms/dag/r1/run/key").status_code == 503
    assert proxied.call("POST", "/xcoms/dag/r2/run/key").status_code == 200


def test_times_and_order(proxied: Proxied) -> None:
    """A fault may be told to hit once, and only after another one."""
    first = ApiFault("PATCH", "/state$", status=503, times=1)
    proxied.proxy.add("r1", first)
    proxied.proxy.add("r1", ApiFault("PUT", "/heartbeat$", status=204, once_met=first))
    heartbeat, state = f"/task-instances/{TASK}/heartbeat", f"/task-instances/{TASK}/state"
    assert proxied.call("PUT", heartbeat).status_code == 200
    assert [proxied.call("PATCH", state).status_code for _ in range(2)] == [503, 200]
    assert proxied.call("PUT", heartbeat).status_code == 204


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [(ApiFault(path="/state$", refuse=True), 1), (ApiFault(path="/state$", lose_answer=True), 2)],
    ids=["refuse", "lose_answer"],
)
def test_no_answer(proxied: Proxied, server: RawServer, fault: ApiFault, arrived: int) -> None:
    """The client sees a broken connection both times; only a call whose answer is lost has arrived."""
    proxied.proxy.add("r1", fault)
    with pytest.raises(requests.ConnectionError):
        proxied.call("PATCH", f"/task-instances/{TASK}/state")
    assert len(server.seen) == arrived


def test_a_held_call_goes_on_when_released(proxied: Proxied) -> None:
    """It needn't wait for its time to be over."""
    fault = ApiFault(path="/state$", hold_s=60)
    proxied.proxy.add("r1", fault)
    threading.Timer(0.3, proxied.proxy.release, (fault,)).start()
    began = time.monotonic()
    assert proxied.call("PATCH", f"/task-instances/{TASK}/state").status_code == 200
    assert 0.2 < time.monotonic() - began < 5


# --- the way to the server -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "arrived"),
    [
        ("drop", requests.ConnectionError, 0),
        ("refuse", requests.ConnectionError, 0),
        ("black hole", requests.ReadTimeout, 0),
        ("half an answer", requests.ReadTimeout, 1),
    ],
)
def test_a_line_has_its_trouble_for_a_time(
    network: Network, server: RawServer, kind: str, error: type[Exception], arrived: int
) -> None:
    """It is well before and after, and another line beside it always."""
    line, beside = Line(network, server.url), Line(network, server.url)

    def get(url: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, timeout=0.5).status_code

    assert get(line.url) == 200
    line.trouble(kind, 1.5)
    with pytest.raises(error):
        get(line.url)
    assert get(beside.url) == 200
    assert line.hits
    assert not beside.hits
    assert len(server.seen) == 2 + arrived
    assert _recovers(lambda: get(line.url))


def _recovers(get: Callable[[], int]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(requests.RequestException):
            return get() == 200
        time.sleep(0.1)
    return False
