"""Recorded from Google's emulator of Spanner."""

from __future__ import annotations

from airflow_provider_operations.operation import Code, Operation, Status

from .verdicts import T, Verdict, no_operation, refused

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
