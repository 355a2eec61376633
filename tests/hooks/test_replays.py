"""
What servers really answer, replayed byte for byte, and what each answer must be taken for.

``transcripts/<server>/<number>-<what>.request.http`` and ``.response.http`` were recorded from cloudbox and from
Google's emulators of Datastore, Cloud Functions and Spanner. ``QUIRKS`` are answers that other servers were seen
to give, written by hand.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import pytest

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.response import CallFailure, is_named
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks._body import MAX_BODY_BYTES
from airflow_provider_operations.operation import Code, Operation, Status
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.clocks import MovedClock
from tests.support.raw_server import Seen, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.hooks import Calls

RECORDED = Path(__file__).parent / "transcripts"


# --- what a verdict is ---------------------------------------------------------------------------------------


class Failed(NamedTuple):
    """What a ``CallFailure`` must say, but for what was asked."""

    http_status: int
    status: Status
    problem: str
    transient: bool = False
    excerpt: str = ""
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def of(self, line: str, base_url: str, attempts: int) -> CallFailure:
        """Return the failure of a request that began with this line."""
        method, target, _ = line.split(" ")
        return CallFailure(
            method,
            base_url + target.partition("?")[0],
            self.http_status,
            self.status,
            self.problem,
            excerpt=self.excerpt,
            retry_after=self.retry_after,
            transient=self.transient,
            attempts=attempts,
            headers=dict(self.headers),
        )


Polled = Operation | Failed
"""What the answer to a GET of an operation is taken for."""

Verdict = Polled | list[Operation] | None
"""What an answer is taken for; ``None``: the server agreed to cancel or delete."""


def refused(
    http_status: int,
    code: Code,
    message: str = "",
    details: list[Any] | None = None,
    other: dict[str, Any] | None = None,
    *,
    problem: str | None = None,
    **facts: Any,
) -> Failed:
    """Describe an answer other than 2xx."""
    status = Status(code, message, details or [], other or {})
    return Failed(http_status, status, problem or f"HTTP {http_status}", **facts)


def unreadable(problem: str, excerpt: str, http_status: int = 200) -> Failed:
    """Describe a 2xx that says nothing one can go on with."""
    return Failed(http_status, Status(Code.UNKNOWN, problem), problem, excerpt=excerpt)


def no_operation(keys: str, excerpt: str, http_status: int = 200) -> Failed:
    """Describe a 2xx with a JSON object that is no operation."""
    problem = f"the answer is no operation: an operation has 'name' or 'done'; this object has {keys}"
    return unreadable(problem, excerpt, http_status)


# --- the transcripts -----------------------------------------------------------------------------------------

T = "type.googleapis.com/google."

CLOUDBOX_INSTANCE = Operation(
    "projects/demo/instances/i1/operations/d4bc696a-aba3-43bf-8231-1e80b0e147de",
    done=True,
    response={
        "@type": T + "spanner.admin.instance.v1.Instance",
        "name": "projects/demo/instances/i1",
        "config": "projects/demo/instanceConfigs/regional-us-central1",
        "displayName": "one",
        "nodeCount": 1,
        "processingUnits": 1000,
        "state": "READY",
        "labels": {},
        "createTime": "2026-11-24T08:30:12.606Z",
        "updateTime": "2026-11-24T08:30:12.606Z",
    },
)
CLOUDBOX_DATABASE = Operation(
    "projects/demo/instances/i1/databases/db1/operations/ff7f877e-42d3-428b-98b8-9ff385ac6793",
    done=True,
    response={
        "@type": T + "spanner.admin.database.v1.Database",
        "name": "projects/demo/instances/i1/databases/db1",
        "state": "READY",
        "createTime": "2026-11-24T08:30:12.821Z",
        "earliestVersionTime": "2026-11-24T08:30:12.821Z",
        "versionRetentionPeriod": "1h",
    },
)
CLOUDBOX_DDL = Operation(
    "projects/demo/instances/i1/databases/db1/operations/ed57782a-39a9-4920-bc62-0eede4fb49ce",
    done=True,
    metadata={"statements": ["CREATE TABLE t (id INT64 NOT NULL, v STRING(MAX)) PRIMARY KEY (id)"]},
)
CLOUDBOX: dict[str, Verdict] = {
    "01-start-instance": CLOUDBOX_INSTANCE,
    "02-get-done": CLOUDBOX_INSTANCE,
    "03-start-database": CLOUDBOX_DATABASE,
    "04-get-database-done": CLOUDBOX_DATABASE,
    "05-start-ddl": CLOUDBOX_DDL,
    "06-get-ddl-done-no-response": CLOUDBOX_DDL,
    "07-start-ddl-bad": refused(
        400,
        Code.INVALID_ARGUMENT,
        'Parser Error: syntax error at or near "NONSENSE"\n\nLINE 1: CREATE NONSENSE\n               ^^^^^^^^',
    ),
    "08-start-duplicate-instance": refused(409, Code.ALREADY_EXISTS, "Instance already exists: i1"),
    "09-start-missing-id": refused(400, Code.INVALID_ARGUMENT, "instanceId is required"),
    "10-start-bad-json": refused(
        500, Code.INTERNAL, "Expecting value: line 1 column 15 (char 14)", transient=True
    ),
    # It says so of every name. Nothing tells such an operation from one that has succeeded without a response,
    # which the protocol allows, so the server is believed: a success, with nothing in it.
    "11-get-unknown-operation": Operation("projects/demo/instances/i1/operations/nope", done=True),
    "12-get-unknown-operation-unknown-instance": Operation(
        "projects/demo/instances/nope/operations/nope", done=True
    ),
    "13-cancel": refused(405, Code.UNKNOWN, "Method Not Allowed"),
    "14-delete-operation": refused(405, Code.UNKNOWN, "Method Not Allowed"),
    "15-list-operations": [],
    "16-get-plain-operations-collection": refused(404, Code.NOT_FOUND, "Not Found"),
    "17-unknown-path": refused(404, Code.NOT_FOUND, "Not Found"),
}

DATASTORE: dict[str, Verdict] = {
    "01-commit-entity": no_operation(
        "indexUpdates, mutationResults",
        '{\n  "mutationResults": [{\n    "version": "2"\n  }],\n  "indexUpdates": 3\n}',
    ),
    "02-start-export-done-without-name": Operation(
        "",
        done=True,
        metadata={
            "@type": T + "datastore.admin.v1.ExportEntitiesMetadata",
            "common": {
                "startTime": "2026-11-24T08:29:53.178697915Z",
                "endTime": "2026-11-24T08:29:53.245183705Z",
                "operationType": "EXPORT_ENTITIES",
                "state": "SUCCESSFUL",
            },
            "entityFilter": {},
            "outputUrlPrefix": "/srv/dsdata/exp",
        },
        response={
            "@type": T + "datastore.admin.v1.ExportEntitiesResponse",
            "outputUrl": "/srv/dsdata/exp",
        },
    ),
    "03-start-import-done-without-name": Operation(
        "projects/demo/operations/39dd84fae6c04b28952e0ce801e56326",
        done=True,
        metadata={
            "@type": T + "datastore.admin.v1.ImportEntitiesMetadata",
            "common": {
                "startTime": "2026-11-24T08:29:53.332865055Z",
                "endTime": "2026-11-24T08:29:53.345458031Z",
                "operationType": "IMPORT_ENTITIES",
                "state": "SUCCESSFUL",
            },
            "entityFilter": {},
            "inputUrl": "/srv/dsdata/exp/2026-11-24T08:29:53_209/"
            "2026-11-24T08:29:53_209.overall_export_metadata",
        },
        response={"@type": T + "protobuf.Empty"},
    ),
    "04-start-export-again-same-prefix": refused(
        400,
        Code.INVALID_ARGUMENT,
        "The output_url_prefix: /tmp/w/servers/dsdata/exp already exists",
    ),
    "05-start-import-missing-file": refused(
        400, Code.INVALID_ARGUMENT, "Failed to parse overall export metadata file"
    ),
    "06-start-export-no-prefix": Operation(
        "",
        done=True,
        metadata={
            "@type": T + "datastore.admin.v1.ExportEntitiesMetadata",
            "common": {
                "startTime": "2026-11-24T08:29:53.447015933Z",
                "endTime": "2026-11-24T08:29:53.449103893Z",
                "operationType": "EXPORT_ENTITIES",
                "state": "SUCCESSFUL",
            },
            "entityFilter": {},
        },
        response={"@type": T + "datastore.admin.v1.ExportEntitiesResponse", "outputUrl": "/srv/dsdata"},
    ),
    "07-start-export-bad-json": refused(400, Code.INVALID_ARGUMENT, "Payload isn't valid for request."),
    "08-start-export-unknown-field": refused(400, Code.INVALID_ARGUMENT, "Payload isn't valid for request."),
    "09-get-operation-not-served": refused(404, Code.NOT_FOUND, excerpt="Not Found"),
    "10-list-operations-not-served": refused(404, Code.NOT_FOUND, excerpt="Not Found"),
    "11-cancel-not-served": refused(404, Code.NOT_FOUND, excerpt="Not Found"),
    "12-health": unreadable(
        "the answer (no content type) is not JSON: Expecting value: line 1 column 1 (char 0)", "Ok"
    ),
}

FUNCTIONS_TYPES = "types.googleapis.com/google.cloud.functions.v1beta2."
LOCATION = "projects/demo/locations/us-central1"
UPLOAD = "http://127.0.0.1:8008/upload?localdir=/srv/fe-src/"


def functions_metadata(function: str, request: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Metadata as the Cloud Functions emulator sends it: no ``@type`` anywhere."""
    return {
        "typeUrl": FUNCTIONS_TYPES + "OperationMetadataV1Beta2",
        "value": {
            "target": f"{LOCATION}/functions/{function}",
            "type": 1,
            "request": {"typeUrl": FUNCTIONS_TYPES + request, "value": fields},
        },
    }


def created(function: str, **source: str) -> dict[str, Any]:
    """Metadata of the creation of a function."""
    fields = {"name": f"{LOCATION}/functions/{function}", "httpsTrigger": {}, **source}
    return functions_metadata(function, "CreateFunctionRequest", {"location": LOCATION, "function": fields})


def internal_error(message: str, frames: list[str]) -> Status:
    """An operation's error as the Cloud Functions emulator sends it."""
    stack = [*f"InternalError: {message}".split("\n"), *frames]
    detail = {
        "typeUrl": "types.googleapis.com/google.rpc.DebugInfo",
        "value": {"stackEntries": stack, "detail": message},
    }
    return Status(Code.INTERNAL, message, [detail], {"name": "InternalError"})


HELLO = Operation(
    "operations/7e6b9ca5-f218-4d99-9337-a1b41ebbf081",
    metadata=created("hello", sourceUploadUrl=UPLOAD + "good"),
)
NOPE = Operation(
    "operations/59c5033e-39ae-4c18-9802-53a33afba4d6",
    metadata=created("nope", sourceUploadUrl=UPLOAD + "bad"),
)
NOARCH = Operation(
    "operations/e9275152-28d0-4ec3-958d-197711d945ce",
    metadata=created("noarch", sourceArchiveUrl="http://127.0.0.1/x.zip"),
)
DELETED = Operation(
    "operations/0f747cfd-a58f-4756-8f86-4cb346b05974",
    metadata=functions_metadata(
        "hello", "DeleteFunctionRequest", {"name": "projects/demo/locations/us-central1/functions/hello"}
    ),
)
FUNCTIONS_MODEL = "/srv/fe/node_modules/@google-cloud/functions-emulator/src/model/functions.js"
FUNCTIONS_FRAMES = [
    f"    at Functions._createFunctionError ({FUNCTIONS_MODEL}:309:11)",
    f"    at {FUNCTIONS_MODEL}:423:34",
]
BOOM = """\
Function worker crashed with exit code: 1
undefined/srv/fe-src/bad/index.js:1
throw new Error('boom at load');
^

Error: boom at load
    at Object.<anonymous> (/srv/fe-src/bad/index.js:1:7)
    at Module._compile (node:internal/modules/cjs/loader:1521:14)
    at Module._extensions..js (node:internal/modules/cjs/loader:1623:10)
    at Module.load (node:internal/modules/cjs/loader:1266:32)
    at Module._load (node:internal/modules/cjs/loader:1091:12)
    at Module.require (node:internal/modules/cjs/loader:1289:19)
    at require (node:internal/modules/helpers:182:18)
    at process.<anonymous> (/srv/fe/node_modules/@google-cloud/functions-emulator/src/supervisor/worker.js:76:28)
    at process.emit (node:events:524:28)
    at emit (node:internal/child_process:950:14)

Node.js v20.20.2"""
NOT_ROUTED = refused(500, Code.INTERNAL, transient=True)
"""An empty body of text/html: what it answers to what it has no route for."""


def functions_refusal(http_status: int, code: Code, message: str, *, transient: bool = False) -> Failed:
    """An error with the message twice."""
    return refused(http_status, code, message, other={"errors": [message]}, transient=transient)


FUNCTIONS: dict[str, Verdict] = {
    "01-start-ok": HELLO,
    "02-get-pending": HELLO,
    "03-cancel-pending-unimplemented": NOT_ROUTED,
    "04-get-done-response": Operation(
        HELLO.name,
        done=True,
        metadata=HELLO.metadata,
        response={
            "typeUrl": FUNCTIONS_TYPES + "CloudFunction",
            "value": {
                "name": "projects/demo/locations/us-central1/functions/hello",
                "httpsTrigger": {"url": "http://127.0.0.1:8010/demo/us-central1/hello"},
                "sourceUploadUrl": "http://127.0.0.1:8008/upload?localdir=/srv/fe-src/good",
                "status": "READY",
                "latestOperation": "operations/7e6b9ca5-f218-4d99-9337-a1b41ebbf081",
                "availableMemoryMb": 25276,
            },
        },
    ),
    "05-start-fail": NOPE,
    "06-get-fail-pending": NOPE,
    "07-get-done-error": Operation(
        NOPE.name,
        done=True,
        metadata=NOPE.metadata,
        error=internal_error(
            BOOM,
            [
                *FUNCTIONS_FRAMES,
                "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)",
            ],
        ),
    ),
    "08-start-fail-missing-archive": NOARCH,
    "09-get-fail-missing-archive": Operation(
        NOARCH.name,
        done=True,
        metadata=NOARCH.metadata,
        error=internal_error("Unsupported archive url: http://127.0.0.1/x.zip", FUNCTIONS_FRAMES),
    ),
    "10-start-delete": DELETED,
    "11-get-delete-done-empty": Operation(
        DELETED.name,
        done=True,
        metadata=DELETED.metadata,
        response={"typeUrl": "types.googleapis.com/google.protobuf.Empty", "value": {}},
    ),
    "12-start-conflict": functions_refusal(
        409,
        Code.ALREADY_EXISTS,
        "Function nope in location us-central1 in project demo already exists",
    ),
    "13-start-invalid-name": functions_refusal(
        500,
        Code.INTERNAL,
        "Invalid value 'bogus': Function name must contain only Latin letters, digits and a hyphen (-). It must "
        "start with letter, must not end with a hyphen, and must be at most 63 characters long.",
        transient=True,
    ),
    "14-start-bad-json": refused(500, Code.INTERNAL, transient=True, excerpt="Unexpected end of JSON input"),
    "15-delete-unknown-function": functions_refusal(
        404, Code.NOT_FOUND, "Function unknown in location us-central1 in project demo does not exist"
    ),
    "16-get-unknown": functions_refusal(404, Code.NOT_FOUND, "Operation operations/nope does not exist"),
    "17-cancel-unknown": NOT_ROUTED,
    "18-delete-operation": NOT_ROUTED,
    "19-list-operations": NOT_ROUTED,
    "20-get-bad-operation-name": functions_refusal(
        404, Code.NOT_FOUND, "Operation operations/a_b does not exist"
    ),
    "21-unknown-path": NOT_ROUTED,
}

SPANNER_INSTANCE_FIELDS = {
    "name": "projects/demo/instances/i1",
    "config": "projects/demo/instanceConfigs/emulator-config",
    "displayName": "one",
    "nodeCount": 1,
    "processingUnits": 1000,
    "state": "READY",
    "createTime": "2026-11-24T08:29:50.155916496Z",
    "updateTime": "2026-11-24T08:29:50.155916496Z",
}
SPANNER_INSTANCE = Operation(
    "projects/demo/instances/i1/operations/_auto0",
    done=True,
    metadata={
        "@type": T + "spanner.admin.instance.v1.CreateInstanceMetadata",
        "instance": SPANNER_INSTANCE_FIELDS,
        "startTime": "2026-11-24T08:29:50.155934Z",
        "endTime": "2026-11-24T08:29:50.155936Z",
    },
    response={"@type": T + "spanner.admin.instance.v1.Instance", **SPANNER_INSTANCE_FIELDS},
)
SPANNER_DATABASE = Operation(
    "projects/demo/instances/i1/databases/db1/operations/_auto1",
    done=True,
    metadata={
        "@type": T + "spanner.admin.database.v1.CreateDatabaseMetadata",
        "database": "projects/demo/instances/i1/databases/db1",
    },
    response={
        "@type": T + "spanner.admin.database.v1.Database",
        "name": "projects/demo/instances/i1/databases/db1",
        "state": "READY",
    },
)
SPANNER_DDL = Operation(
    "projects/demo/instances/i1/databases/db1/operations/ddl_ok_1",
    done=True,
    metadata={
        "@type": T + "spanner.admin.database.v1.UpdateDatabaseDdlMetadata",
        "database": "projects/demo/instances/i1/databases/db1",
        "statements": ["CREATE INDEX iv ON t (v)"],
        "commitTimestamps": ["2026-11-24T08:29:50.685995Z"],
    },
    response={"@type": T + "protobuf.Empty", "value": {}},
)
SPANNER_DDL_FAILED = Operation(
    "projects/demo/instances/i1/databases/db1/operations/ddl_fail_1",
    done=True,
    metadata={
        "@type": T + "spanner.admin.database.v1.UpdateDatabaseDdlMetadata",
        "database": "projects/demo/instances/i1/databases/db1",
        "statements": [
            "CREATE INDEX iv2 ON t (v)",
            "CREATE UNIQUE INDEX uv ON t (v)",
            "CREATE INDEX iv3 ON t (v)",
        ],
        "commitTimestamps": ["2026-11-24T08:29:50.866499Z"],
    },
    error=Status(
        Code.FAILED_PRECONDITION,
        'Found uniqueness violation on index uv,  duplicate key: {String("same")}',
    ),
)
UNIMPLEMENTED = refused(501, Code.UNIMPLEMENTED)
"""``{"code":12}``, without a message."""

SPANNER: dict[str, Verdict] = {
    "01-start-instance": SPANNER_INSTANCE,
    "02-get-done-response": SPANNER_INSTANCE,
    "03-start-database": SPANNER_DATABASE,
    "04-get-database-done": SPANNER_DATABASE,
    # No operation, but nothing says so: it has a name, and a running operation may say no more.
    "05-session": Operation(
        "projects/demo/instances/i1/databases/db1/sessions/0",
        other={
            "createTime": "2026-11-24T08:29:50.523913Z",
            "approximateLastUseTime": "2026-11-24T08:29:50.523914Z",
        },
    ),
    "06-commit-two-rows": no_operation(
        "commitTimestamp", '{"commitTimestamp":"2026-11-24T08:29:50.663106Z"}'
    ),
    "07-start-ddl-ok": SPANNER_DDL,
    "08-get-ddl-done-empty": SPANNER_DDL,
    "09-start-ddl-failing": SPANNER_DDL_FAILED,
    "10-get-ddl-error": SPANNER_DDL_FAILED,
    "11-start-ddl-failing-not-null": refused(
        400,
        Code.FAILED_PRECONDITION,
        "Changing NOT NULL constraints on column v is not allowed because it affects index iv.",
    ),
    "12-get-ddl-error-not-null": refused(404, Code.NOT_FOUND, "Not Found"),
    "13-start-ddl-syntax-error": refused(
        400,
        Code.INVALID_ARGUMENT,
        "Error parsing Spanner DDL statement: CREATE NONSENSE : Syntax error on line 1, column 8: "
        "Encountered 'NONSENSE' while parsing: create_statement",
    ),
    "14-start-ddl-same-operation-id": refused(
        409,
        Code.ALREADY_EXISTS,
        "Operation already exists: projects/demo/instances/i1/databases/db1/operations/ddl_ok_1",
    ),
    "15-start-duplicate-instance": refused(
        409, Code.ALREADY_EXISTS, "Instance already exists: projects/demo/instances/i1"
    ),
    "16-start-invalid-argument": Operation(
        "projects/demo/instances/i2/operations/_auto2",
        done=True,
        metadata={
            "@type": T + "spanner.admin.instance.v1.CreateInstanceMetadata",
            "instance": {
                "name": "projects/demo/instances/i2",
                "displayName": "x",
                "state": "READY",
                "createTime": "2026-11-24T08:29:51.285453964Z",
                "updateTime": "2026-11-24T08:29:51.285453964Z",
            },
            "startTime": "2026-11-24T08:29:51.285466Z",
            "endTime": "2026-11-24T08:29:51.285469Z",
        },
        response={
            "@type": T + "spanner.admin.instance.v1.Instance",
            "name": "projects/demo/instances/i2",
            "displayName": "x",
            "state": "READY",
            "createTime": "2026-11-24T08:29:51.285453964Z",
            "updateTime": "2026-11-24T08:29:51.285453964Z",
        },
    ),
    "17-start-bad-json": refused(400, Code.INVALID_ARGUMENT, "unexpected EOF"),
    "18-start-unknown-field": refused(400, Code.INVALID_ARGUMENT, 'proto: (line 1:2): unknown field "bogus"'),
    "19-cancel-done": UNIMPLEMENTED,
    "20-cancel-done-no-body": UNIMPLEMENTED,
    "21-cancel-failed": UNIMPLEMENTED,
    "22-get-after-cancel": SPANNER_INSTANCE,
    "23-start-database-missing-instance": refused(
        500, Code.INTERNAL, "failed to marshal error message", transient=True
    ),
    "24-get-unknown": refused(
        404, Code.NOT_FOUND, "Operation not found: projects/demo/instances/i1/operations/nope"
    ),
    "25-cancel-unknown": UNIMPLEMENTED,
    "26-delete-unknown": UNIMPLEMENTED,
    "27-get-unknown-instance": refused(
        404, Code.NOT_FOUND, "Operation not found: projects/demo/instances/zzz/operations/nope"
    ),
    "28-get-invalid-name": refused(
        404, Code.NOT_FOUND, "Operation not found: projects/demo/instances/i1/operations/Bad Name"
    ),
    "29-list-instance-operations": [SPANNER_INSTANCE],
    "30-list-database-operations": [SPANNER_DATABASE, SPANNER_DDL_FAILED, SPANNER_DDL],
    # The page size is not minded.
    "31-list-page": [SPANNER_DATABASE, SPANNER_DDL_FAILED, SPANNER_DDL],
    "32-list-database-operations-all": UNIMPLEMENTED,
    "33-wait-unbound": refused(501, Code.UNIMPLEMENTED, "Method Not Allowed"),
    "34-delete-operation": UNIMPLEMENTED,
    "35-get-after-delete": SPANNER_DDL,
    "36-get-plain-operations": refused(400, Code.INVALID_ARGUMENT, "Invalid project uri: operations/nope"),
    "37-wrong-method": refused(501, Code.UNIMPLEMENTED, "Method Not Allowed"),
    "38-get-unknown-query-param": SPANNER_INSTANCE,
    "39-get-alt-json": SPANNER_INSTANCE,
    "40-unknown-path": refused(404, Code.NOT_FOUND, "Not Found"),
}

TRANSCRIPTS: dict[str, Verdict] = {
    f"{server}/{number}": verdict
    for server, verdicts in {
        "cloudbox": CLOUDBOX,
        "datastore-emulator": DATASTORE,
        "functions-emulator": FUNCTIONS,
        "spanner-emulator": SPANNER,
    }.items()
    for number, verdict in verdicts.items()
}


# --- quirks of other servers ---------------------------------------------------------------------------------


class Quirk(NamedTuple):
    """A request's first line, the answer to it, and what that is taken for."""

    line: str
    response: bytes
    called: Verdict
    polled: Polled | None = None
    """As the answer to a GET of an operation, where that differs."""


GET = "GET /v1/operations/x"
CANCEL = "POST /v1/operations/x:cancel"
DELETE = "DELETE /v1/operations/x"
LIST = "GET /v1/operations"
START = "POST /v1/projects/p/things:run"

JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
HTML = {"Content-Type": "text/html"}

LOGIN = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>\n<form></form></body></html>"
BUSY = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body></body>\r\n</html>\r\n"
MOVED = '<a href="/v1/operations/y">Moved Permanently</a>.'
RETRY_5S = {"@type": T + "rpc.RetryInfo", "retryDelay": "5s"}
RETRY_7S = {"typeUrl": "types.googleapis.com/google.rpc.RetryInfo", "value": {"retryDelay": "7s"}}
QUOTA = {
    "typeUrl": "types.googleapis.com/google.rpc.QuotaFailure",
    "value": {"violations": [{"subject": "s"}]},
}
HALFWAY = {"typeUrl": "types.googleapis.com/p.Metadata", "value": {"progressPercent": 50}}
NOTHING = no_operation("nothing", "")
NOTHING_204 = no_operation("nothing", "", 204)


def sent(value: object, http_status: int = 200, headers: dict[str, str] = JSON) -> bytes:
    """An answer in JSON."""
    return answer(http_status, json.dumps(value).encode(), headers)


def moved_to_y(http_status: int) -> Failed:
    """A redirect within the server."""
    return refused(
        http_status,
        Code.UNKNOWN,
        problem=f"HTTP {http_status}, a redirect to /v1/operations/y, which is not followed",
        excerpt=MOVED,
        headers={"location": "/v1/operations/y"},
    )


def redirect(http_status: int) -> bytes:
    """A redirect as Go's router answers to a path that it would spell otherwise."""
    return answer(http_status, MOVED.encode() + b"\n\n", {**HTML, "Location": "/v1/operations/y"})


QUIRKS: dict[str, Quirk] = {
    # Errors.
    "gateway-error-with-RetryInfo": Quirk(
        GET,
        sent({"code": 8, "message": "quota", "details": [RETRY_5S]}, 429),
        refused(
            429,
            Code.RESOURCE_EXHAUSTED,
            "quota",
            [RETRY_5S],
            transient=True,
            retry_after=timedelta(seconds=5),
        ),
    ),
    "gateway-error-with-typeUrl": Quirk(
        GET,
        sent({"code": 14, "message": "drained", "details": [RETRY_7S]}, 503),
        refused(
            503, Code.UNAVAILABLE, "drained", [RETRY_7S], transient=True, retry_after=timedelta(seconds=7)
        ),
    ),
    "gateway-1-error-twice": Quirk(
        GET,
        sent({"error": "not here", "code": 5, "message": "not here", "details": []}, 404),
        refused(404, Code.NOT_FOUND, "not here"),
    ),
    "gateway-error-as-text": Quirk(
        CANCEL,
        sent({"code": 9, "message": "too late"}, 400, PLAIN),
        refused(400, Code.FAILED_PRECONDITION, "too late"),
    ),
    "error-in-words-beside-a-message": Quirk(
        START,
        sent({"status": 400, "error": "Bad Request", "message": "no such region", "path": "/v1/x"}, 400),
        refused(
            400,
            Code.INVALID_ARGUMENT,
            "Bad Request: no such region",
            other={"status": 400, "path": "/v1/x"},
        ),
    ),
    "envelope-with-details-text": Quirk(
        GET,
        sent({"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED", "details": "role"}}, 403),
        refused(403, Code.PERMISSION_DENIED, "m", ["role"]),
    ),
    "envelope-with-a-neighbour": Quirk(
        GET,
        sent({"error": {"code": 404, "message": "m", "status": "NOT_FOUND"}, "requestId": "r-1"}, 404),
        refused(404, Code.NOT_FOUND, "m", other={"requestId": "r-1"}),
    ),
    "envelope-with-200": Quirk(
        GET,
        sent({"error": {"code": 404, "message": "m"}}),
        no_operation("error", '{"error": {"code": 404, "message": "m"}}'),
    ),
    # Operations.
    "operation-as-text": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "response": {"a": 1}}, 200, PLAIN),
        Operation("operations/x", done=True, response={"a": 1}),
    ),
    "metadata-with-typeUrl": Quirk(
        GET, sent({"name": "operations/x", "metadata": HALFWAY}), Operation("operations/x", metadata=HALFWAY)
    ),
    "error-with-typeUrl": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 8, "details": [QUOTA]}}),
        Operation("operations/x", done=True, error=Status(Code.RESOURCE_EXHAUSTED, "", [QUOTA])),
    ),
    "no-name-while-running": Quirk(
        GET, sent({"done": False, "metadata": {"a": 1}}), Operation("", metadata={"a": 1})
    ),
    "no-name-of-a-running-start": Quirk(
        START,
        sent({"done": False}),
        unreadable(
            "the answer is an operation without a name that isn't done; it can't be asked for",
            '{"done": false}',
        ),
        Operation(""),
    ),
    "neither-name-nor-done": Quirk(
        GET, sent({"metadata": {"a": 1}}), no_operation("metadata", '{"metadata": {"a": 1}}')
    ),
    "nulls-while-running": Quirk(
        GET,
        sent({"name": "operations/x", "done": None, "metadata": None, "error": None, "response": None}),
        Operation("operations/x"),
    ),
    "nulls-when-done": Quirk(
        GET,
        sent({"name": None, "done": True, "metadata": None, "error": None, "response": {"a": None}}),
        Operation("", done=True, response={"a": None}),
    ),
    "error-with-details-text": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 3, "message": "m", "details": "why"}}),
        Operation("operations/x", done=True, error=Status(Code.INVALID_ARGUMENT, "m", ["why"])),
    ),
    # An error that names no cause is an error; nobody sends one with a success but by mistake, and then the
    # mistake is to be looked at.
    "error-empty": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN)),
    ),
    "error-0": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 0, "message": "", "details": []}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN)),
    ),
    "error-0-beside-a-response": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 0}, "response": {"a": 1}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN), response={"a": 1}),
    ),
    "error-while-running": Quirk(
        GET,
        sent({"name": "operations/x", "done": False, "error": {"code": 14, "message": "retrying"}}),
        Operation("operations/x", error=Status(Code.UNAVAILABLE, "retrying")),
    ),
    "base64-name": Quirk(
        "GET /v1/operations/YWJj/+8==",
        sent({"name": "operations/YWJj/+8==", "done": True}),
        Operation("operations/YWJj/+8==", done=True),
    ),
    "base64-name-of-a-start": Quirk(
        START, sent({"name": "operations/YWJj//8="}), Operation("operations/YWJj//8=")
    ),
    # Bodies.
    "login-page": Quirk(
        GET,
        answer(200, LOGIN.encode(), HTML),
        unreadable("the answer (text/html) is not JSON: Expecting value: line 1 column 1 (char 0)", LOGIN),
    ),
    # A page of somebody in between must not pass for the server's consent.
    "login-page-for-a-cancel": Quirk(
        CANCEL,
        answer(200, LOGIN.encode(), HTML),
        unreadable("the answer (text/html) is not JSON: Expecting value: line 1 column 1 (char 0)", LOGIN),
    ),
    "maintenance-page": Quirk(
        GET,
        answer(503, BUSY.encode(), {**HTML, "Retry-After": "20"}),
        refused(
            503,
            Code.UNAVAILABLE,
            transient=True,
            excerpt=BUSY.replace("\r\n", "\n").strip(),
            retry_after=timedelta(seconds=20),
            headers={"retry-after": "20"},
        ),
    ),
    "empty-200": Quirk(GET, answer(200, b""), NOTHING),
    "empty-204": Quirk(GET, b"HTTP/1.1 204 No Content\r\n\r\n", NOTHING_204),
    "empty-404": Quirk(GET, answer(404, b""), refused(404, Code.NOT_FOUND)),
    "empty-200-for-a-cancel": Quirk(CANCEL, answer(200, b""), None, NOTHING),
    "empty-204-for-a-cancel": Quirk(CANCEL, b"HTTP/1.1 204 No Content\r\n\r\n", None, NOTHING_204),
    "empty-204-for-a-delete": Quirk(DELETE, b"HTTP/1.1 204 No Content\r\n\r\n", None, NOTHING_204),
    "empty-200-for-a-list": Quirk(LIST, answer(200, b""), [], NOTHING),
    "empty-object-for-a-cancel": Quirk(CANCEL, sent({}), None, no_operation("nothing", "{}")),
    "until-the-connection-ends": Quirk(
        GET, b'HTTP/1.0 200 OK\r\n\r\n{"name": "operations/x"}', Operation("operations/x")
    ),
    "in-chunks": Quirk(
        GET,
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{"done": tr\r\n3\r\nue}\r\n0\r\n\r\n',
        Operation("", done=True),
    ),
    # Redirects: to where they point, nobody has said that the operation is.
    "301-for-a-get": Quirk("GET /v1/operations//x", redirect(301), moved_to_y(301)),
    "301-for-a-cancel": Quirk("POST /v1/operations//x:cancel", redirect(301), moved_to_y(301)),
    "301-for-a-delete": Quirk(DELETE, redirect(301), moved_to_y(301)),
    "302-for-a-list": Quirk(LIST, redirect(302), moved_to_y(302)),
    "303-for-a-start": Quirk(START, redirect(303), moved_to_y(303)),
    "307-for-a-cancel": Quirk(CANCEL, redirect(307), moved_to_y(307)),
    "308-for-a-start": Quirk(START, redirect(308), moved_to_y(308)),
    "307-to-no-url": Quirk(
        START,
        answer(307, b"moved", {"Location": "http://[/"}),
        refused(
            307,
            Code.UNKNOWN,
            problem="HTTP 307, a redirect to http://[/, which is not followed",
            excerpt="moved",
            headers={"location": "http://[/"},
        ),
    ),
}


# --- calls and cases -----------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of a hook."""

    kind: str
    hook_method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    line: str
    """What it sends, without the version."""


def call_of(request: bytes) -> Call:
    """Tell from a recorded request which call makes it."""
    head, _, payload = request.partition(b"\r\n\r\n")
    method, target, *_ = head.decode().split("\r\n")[0].split(" ")
    path, _, query = target.partition("?")
    name, params = unquote(path.removeprefix("/v1/")), dict(parse_qsl(query))
    line = f"{method} {target}"
    try:
        body = json.loads(payload)
    except ValueError:  # none, or one that was recorded for not being JSON
        body = None
    of_operation = re.search("(^|/)operations/", name) is not None and not params
    if method == "POST" and name.endswith(":cancel"):
        return Call("cancel", "cancel_operation", (name.removesuffix(":cancel"),), {}, line)
    if method == "POST" and name.endswith(":wait"):
        timeout = float(body["timeout"].removesuffix("s"))
        return Call("wait", "wait_operation", (name.removesuffix(":wait"), timeout), {}, line)
    if method == "GET" and of_operation:
        return Call("get", "get_operation", (name,), {}, line)
    if method == "DELETE" and of_operation:
        return Call("delete", "delete_operation", (name,), {}, line)
    if method == "GET" and re.search("(^|/)operations$", name):
        parent = name.removesuffix("operations").removesuffix("/")
        return Call("list", "list_operations", (parent, None, params.get("pageSize")), {}, line)
    kind = "other" if method == "GET" else "start"
    if path == "/":  # no call asks for this
        name, line = "health", "GET /v1/health"
    return Call(kind, "start_operation", (name,), {"method": method, "query": params, "json": body}, line)


class Case(NamedTuple):
    call: Call
    response: bytes
    called: Verdict
    polled: Polled


def case_of(name: str, verdict: Verdict) -> Case:
    """Read a transcript."""
    call = call_of((RECORDED / f"{name}.request.http").read_bytes())
    response = (RECORDED / f"{name}.response.http").read_bytes()
    if isinstance(verdict, list):
        return Case(call, response, verdict, no_operation("operations", excerpt_of(response)))
    assert verdict is not None
    return Case(call, response, verdict, verdict)


def case_of_quirk(quirk: Quirk) -> Case:
    polled = quirk.polled or quirk.called
    assert isinstance(polled, Operation | Failed)
    return Case(call_of(f"{quirk.line} HTTP/1.1\r\n\r\n".encode()), quirk.response, quirk.called, polled)


def excerpt_of(response: bytes) -> str:
    body = response.partition(b"\r\n\r\n")[2].decode()
    return body[:500] + (" …" if len(body) > 500 else "")


CASES = [
    *(pytest.param(case_of(name, verdict), id=name) for name, verdict in TRANSCRIPTS.items()),
    *(pytest.param(case_of_quirk(quirk), id=name) for name, quirk in QUIRKS.items()),
]


# --- the server ----------------------------------------------------------------------------------------------


class Replayer:
    """A loopback server that answers everything with the bytes that the test has set."""

    def __init__(self) -> None:
        self.response = b""
        self.seen: list[Seen] = []
        replayer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                headers = [(name.lower(), value) for name, value in self.headers.items()]
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                replayer.seen.append(Seen(self.requestline, headers, body))
                self.wfile.write(replayer.response)
                # Kept open as the recorded servers did, unless that would leave the client waiting.
                head = replayer.response.partition(b"\r\n\r\n")[0].lower()
                ends = b"content-length" in head or b"chunked" in head or head.startswith(b"http/1.1 204")
                if b"connection: close" in head or not ends:
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Replayer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def lines(self) -> list[str]:
        """First lines of the requests, without the version."""
        return [seen.line.removesuffix(" HTTP/1.1") for seen in self.seen]


@pytest.fixture(scope="module")
def running() -> Iterator[Replayer]:
    """One server for all, as starting one takes longer than a test."""
    with Replayer() as replayer:
        yield replayer


@pytest.fixture
def replayer(running: Replayer) -> Replayer:
    """The server, which has seen nothing yet."""
    running.seen = []
    return running


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """Time that passes only in pauses."""
    moved = MovedClock()
    for name, value in {"now": moved, "sleep": moved.sleep, "asleep": moved.asleep}.items():
        monkeypatch.setattr(clock, name, value)
    return moved


@pytest.fixture(autouse=True)
def _no_ca_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No certificates of this machine's: hundreds of hooks would read them, and nothing here speaks TLS."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


# --- tests ---------------------------------------------------------------------------------------------------


def test_every_transcript_has_a_verdict() -> None:
    """The table has exactly the recorded exchanges, each of a request and a response."""
    files = {str(path.relative_to(RECORDED)) for path in RECORDED.rglob("*") if path.is_file()}
    assert files == {f"{name}.{half}.http" for name in TRANSCRIPTS for half in ("request", "response")}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcripts_are_as_recorded(name: str) -> None:
    """No line end was changed on the way here, and no body is longer or shorter than announced."""
    for half in ("request", "response"):
        head, _, body = (RECORDED / f"{name}.{half}.http").read_bytes().partition(b"\r\n\r\n")
        length = re.search(rb"^content-length: (\d+)\r?$", head, re.IGNORECASE | re.MULTILINE)
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert len(body) == (int(length[1]) if length else 0)


@pytest.mark.parametrize("case", CASES)
def test_hooks(case: Case, replayer: Replayer, hook_of: Callable[..., Calls], moved: MovedClock) -> None:
    """
    Both hooks send the recorded request and take the answer for what it is, to the last field.

    Only what may pass is asked for again, and once what has no name; no start ever is, and no redirect is followed.
    """
    replayer.response = case.response
    call = case.call
    calls = hook_of(replayer.url, connection={"extra": {"wait_timeout_in": "body"}})

    def make() -> Any:
        return (
            calls.list(*call.args)
            if call.kind == "list"
            else calls(call.hook_method, *call.args, **call.kwargs)
        )

    if isinstance(case.called, Failed):
        attempts = 3 if case.called.transient and call.kind not in {"start", "other"} else 1
        with pytest.raises(OperationsCallError) as failed:
            make()
        assert failed.value.failure == case.called.of(call.line + " _", replayer.url, attempts)
        assert isinstance(failed.value, OperationsCallErrorFinal) is not case.called.transient
        assert failed.value.name == (None if call.kind in {"list", "start", "other"} else call.args[0])
        assert case.called.retry_after is None or min(moved.sleeps) >= case.called.retry_after.total_seconds()
    else:
        attempts = requests_for(case.called, call.args[0]) if call.kind == "get" else 1
        assert make() == case.called
    assert replayer.lines == [call.line] * attempts
    if call.kind == "start" and call.kwargs["json"] is not None:
        assert json.loads(replayer.seen[0].body) == call.kwargs["json"]


def test_redirects_are_not_read_without_end(replayer: Replayer, hook_of: Callable[..., Calls]) -> None:
    """The body of a redirect is read within the same limit as any other."""
    replayer.response = answer(301, b" " * (MAX_BODY_BYTES + 1), {"Location": "/v1/operations/y"})
    with pytest.raises(OperationsCallErrorFinal, match="the answer is longer than 8388608 bytes") as failed:
        hook_of(replayer.url)("get_operation", "operations/x")
    assert (failed.value.http_status, failed.value.failure.sent) == (None, True)
    assert replayer.lines == ["GET /v1/operations/x"]


@pytest.mark.parametrize("case", CASES)
def test_trigger(case: Case, replayer: Replayer, monkeypatch: pytest.MonkeyPatch, moved: MovedClock) -> None:
    """
    A trigger that gets the answer to its polls gives one event: the operation once it is done, or the failure.

    While the operation runs it goes on until the deadline. A failure is borne for a minute: one that may pass is an
    outage, and of another it isn't known yet whether it stays so. Only a 404 that names a code ends the wait at
    once, and any other 404 once there has been a second one half a minute later.
    """
    replayer.response = case.response
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "operations", "host": replayer.url}))
    monkeypatch.setattr("random.random", lambda: 0.0)  # the first look is at once
    began, polled = moved.now, case.polled
    name = case.call.args[0] if case.call.kind == "get" else "operations/x"
    line = case.call.line if case.call.kind == "get" else "GET /v1/operations/x"
    (payload,) = events_of(
        OperationTrigger(name, operations_conn_id="ops", deadline_epoch_s=began + 300, outage_tolerance_s=60)
    )
    outcome = Outcome.from_event(json.loads(json.dumps(payload)))
    passed = moved.now - began
    assert outcome.waited_s == pytest.approx(passed)
    assert set(replayer.lines) == {line}
    if isinstance(polled, Operation):
        kind = Kind.DONE if polled.done else Kind.TIMED_OUT
        assert (outcome.kind, outcome.name, outcome.operation, outcome.failure) == (kind, name, polled, None)
        assert passed == pytest.approx(0 if polled.done else 300)
    else:
        failure = polled.of(line + " _", replayer.url, 1)
        assert (outcome.kind, outcome.name, outcome.operation, outcome.failure) == (
            Kind.CALL_FAILED,
            name,
            None,
            failure,
        )
        if polled.http_status not in {404, 410}:
            assert 60 <= passed <= 90
        elif b'"code"' in case.response:
            assert passed == 0
        else:
            assert 30 <= passed <= 60
        assert polled.retry_after is None or min(moved.sleeps[1:]) >= polled.retry_after.total_seconds()
    asked_at_once = requests_for(polled, name)
    assert (len(replayer.seen) == asked_at_once) is (passed == 0)


def requests_for(result: Any, name: str) -> int:
    """Return how many requests one answer takes: one about another operation, or none, is asked for again."""
    return 2 if isinstance(result, Operation) and not is_named(result, name) else 1


def events_of(trigger: OperationTrigger) -> list[Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def values_of(value: Any) -> Iterator[Any]:
    """Yield what is written in a JSON value, keys left out."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from values_of(inner)
    elif value is not None:
        yield value


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_verdicts_keep_everything(name: str) -> None:
    """A verdict of the table holds all that the server wrote: no field of an operation, no word of an error less."""
    body = (RECORDED / f"{name}.response.http").read_bytes().partition(b"\r\n\r\n")[2]
    verdict = TRANSCRIPTS[name]
    if isinstance(verdict, Failed) and verdict.excerpt:
        assert verdict.excerpt == body.decode().strip()
    elif isinstance(verdict, Failed):
        status = verdict.status
        kept = json.dumps([status.to_json(), status.code_name, verdict.http_status])
        assert [
            value
            for value in values_of(json.loads(body or b"null"))
            if json.dumps(value).strip('"') not in kept
        ] == []
    else:
        read = verdict if isinstance(verdict, list) else [verdict]
        written = json.loads(body)["operations"] if isinstance(verdict, list) else [json.loads(body)]
        assert [operation and operation.to_json() for operation in read] == [
            {"name": "", "done": False, **operation} for operation in written
        ]


@pytest.mark.parametrize("name", ["operations/YWJj/+8==", "operations/YWJj//8=", "operations/a_b-c/d+e=f"])
def test_names_come_back_as_they_were_given(
    name: str, replayer: Replayer, hook_of: Callable[..., Calls]
) -> None:
    """Whatever base64 a server made a name of, it is asked for, cancelled, deleted and polled by that name."""
    replayer.response = sent({"name": name, "done": True})
    calls = hook_of(replayer.url)
    started = calls("start_operation", "projects/p/things:run").name
    for method in ("get_operation", "cancel_operation", "delete_operation"):
        calls(method, started)
    (payload,) = events_of(OperationTrigger(started, operations_conn_id="ops"))
    assert Outcome.from_event(payload).operation == Operation(name, done=True)
    assert replayer.lines == [
        "POST /v1/projects/p/things:run",
        f"GET /v1/{name}",
        f"POST /v1/{name}:cancel",
        f"DELETE /v1/{name}",
        f"GET /v1/{name}",
    ]
