"""Recorded from Google's emulator of Cloud Functions."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations.operation import Code, Operation, Status

from .verdicts import Failed, Verdict, refused

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
