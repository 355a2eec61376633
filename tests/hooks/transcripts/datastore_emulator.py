"""Recorded from Google's emulator of Datastore."""

from __future__ import annotations

from airflow_provider_operations.operation import Code, Operation

from .verdicts import T, Verdict, no_operation, refused, unreadable

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
