"""Clients that Google wrote, against the emulator as it is out of the box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httplib2
import pytest
from google.api_core import exceptions
from google.api_core.operations_v1 import AbstractOperationsClient
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.auth.credentials import AnonymousCredentials
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from airflow_provider_operations.emulator.script import METADATA
from tests.support.raw_requests import call, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


@pytest.fixture
def api_core(emulator: Emulator) -> Iterator[Any]:
    """google-api-core's REST client of ``google.longrunning.Operations``."""
    transport = OperationsRestTransport(host=emulator.url, credentials=AnonymousCredentials())
    yield AbstractOperationsClient(transport=transport)
    session: Any = transport._session  # the transport offers no way to close it
    session.close()


@pytest.fixture
def cloudbuild(emulator: Emulator) -> Iterator[Any]:
    """google-api-python-client's client of a service with standard operations."""
    http = httplib2.Http()
    options = {"api_endpoint": emulator.url}
    with build("cloudbuild", "v1", http=http, client_options=options, static_discovery=True) as service:
        yield service.operations()
    http.close()


@pytest.fixture(scope="module")
def metadata_type() -> Any:
    """Return the emulator's metadata as a protobuf message, as a service's client library brings its own."""
    package, _, name = METADATA.rpartition("/")[2].rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(name="emulator.proto", package=package, syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name=name)
    types = descriptor_pb2.FieldDescriptorProto
    for number, (field, kind) in enumerate(
        [
            ("target", types.TYPE_STRING),
            ("verb", types.TYPE_STRING),
            ("requested_cancellation", types.TYPE_BOOL),
        ]
    ):
        message.field.add(name=field, number=number + 3, type=kind)
    for number, field in enumerate(["create_time", "end_time"]):
        moment = {"type": types.TYPE_MESSAGE, "type_name": ".google.protobuf.Timestamp"}
        message.field.add(name=field, number=number + 1, **moment)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


pytestmark = pytest.mark.usefixtures("metadata_type")


def test_api_core_gets(emulator: Emulator, moved: MovedClock, api_core: Any, metadata_type: Any) -> None:
    """google-api-core parses a default operation, its metadata and its response, strictly."""
    name = start(emulator.url)
    operation = api_core.get_operation(name)
    metadata = metadata_type()
    assert operation.metadata.Unpack(metadata)
    assert (operation.name, operation.done, metadata.verb) == (name, False, "run")
    assert metadata.create_time.seconds == int(moved.now)
    moved.now += 1
    response = struct_pb2.Struct()
    assert api_core.get_operation(name).response.Unpack(response)
    assert response["operation"] == name


def test_api_core_sees_errors(emulator: Emulator, moved: MovedClock, api_core: Any) -> None:
    """The code and message of a failed operation reach google-api-core."""
    name = start(emulator.url, error={"code": 8, "message": "out of things"})
    moved.now += 1
    error = api_core.get_operation(name).error
    assert (error.code, error.message) == (8, "out of things")


def test_api_core_pages(emulator: Emulator, api_core: Any) -> None:
    """google-api-core follows the page tokens to the last operation."""
    for number in range(5):
        start(emulator.url, name=f"projects/p/operations/{number}")
    emulator.clear_journal()
    found = api_core.list_operations(name="projects/p", filter_="done=false", page_size=2)
    assert [operation.name[-1] for operation in found] == ["0", "1", "2", "3", "4"]
    assert [entry["query"]["pageSize"] for entry in emulator.journal("list")] == ["2", "2", "2"]


def test_api_core_cancels_and_deletes(emulator: Emulator, moved: MovedClock, api_core: Any) -> None:
    """Cancelled from google-api-core an operation ends with code 1; deleted it is NotFound."""
    name = start(emulator.url, duration=60)
    api_core.cancel_operation(name)
    moved.now += 3
    assert api_core.get_operation(name).error.code == 1
    api_core.delete_operation(name)
    with pytest.raises(exceptions.NotFound, match="Operation not found"):
        api_core.get_operation(name)


def test_api_core_maps_unimplemented(emulator: Emulator, api_core: Any) -> None:
    """A cancel that isn't offered reaches google-api-core as its own exception, reason included."""
    name = start(emulator.url, onCancel="unimplemented")
    with pytest.raises(exceptions.MethodNotImplemented) as refused:
        api_core.cancel_operation(name)
    # Not by its property ``reason``, which a google-api-core that goes with the oldest google-auth can't read off JSON.
    assert [detail["reason"] for detail in refused.value.details] == ["CANCEL_UNIMPLEMENTED"]


def test_api_client_gets_and_cancels(emulator: Emulator, moved: MovedClock, cloudbuild: Any) -> None:
    """google-api-python-client reads and cancels through the URLs of a bundled API document."""
    start(emulator.url, name="operations/x", duration=60)
    assert cloudbuild.get(name="operations/x").execute()["done"] is False
    assert cloudbuild.cancel(name="operations/x", body={}).execute() == {}
    moved.now += 3
    assert cloudbuild.get(name="operations/x").execute()["error"]["code"] == 1


def test_api_client_reads_errors(emulator: Emulator, cloudbuild: Any) -> None:
    """google-api-python-client finds status and details in the error."""
    with pytest.raises(HttpError) as refused:
        cloudbuild.get(name="operations/none").execute()
    assert refused.value.status_code == 404
    assert refused.value.error_details[0]["reason"] == "OPERATION_NOT_FOUND"
    assert call(emulator.url, "GET", "/v1/operations/none").status == 404
