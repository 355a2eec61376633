"""Recorded from cloudbox."""

from __future__ import annotations

from airflow_provider_operations.operation import Code, Operation

from .verdicts import T, Verdict, refused

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
