"""What a method creates, by name, and where the operation that does so is listed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_operations._google_apis.created import created_by, id_parameter, parent_with_list
from airflow_provider_operations._google_apis.lookup import find_method
from airflow_provider_operations._google_apis.table import document, documents

PLACE = "projects/p/locations/l"


@pytest.mark.parametrize(
    ("method_id", "parameters", "created", "parent"),
    [
        ("file.projects.locations.instances.create", {"instanceId": "i"}, f"{PLACE}/instances/i", PLACE),
        (
            "alloydb.projects.locations.clusters.instances.create",
            {"parent": f"{PLACE}/clusters/c", "instanceId": "i", "requestId": "r"},
            f"{PLACE}/clusters/c/instances/i",
            PLACE,
        ),
        (
            "gkehub:v1.projects.locations.scopes.namespaces.create",
            {"parent": f"{PLACE}/scopes/s", "scopeNamespaceId": "n"},
            f"{PLACE}/scopes/s/namespaces/n",
            PLACE,
        ),
        (
            "clouddeploy.projects.locations.deliveryPipelines.releases.rollouts.create",
            {"parent": f"{PLACE}/deliveryPipelines/d/releases/r", "rolloutId": "o", "startingPhaseId": "x"},
            f"{PLACE}/deliveryPipelines/d/releases/r/rollouts/o",
            PLACE,
        ),
        (
            "aiplatform:v1.projects.locations.featurestores.create",
            {"featurestoreId": "f"},
            f"{PLACE}/featurestores/f",
            f"{PLACE}/featurestores/f",
        ),
        ("cloudbuild:v1.projects.locations.workerPools.create", {"workerPoolId": "w"}, f"{PLACE}/workerPools/w", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_created(
    method_id: str, parameters: dict[str, Any], created: str, parent: str | None
) -> None:
    """Parent, collection and id; listed under the nearest parent for which the API has a list."""
    method = find_method(method_id)
    assert created_by(method, {"parent": PLACE, **parameters}) == created
    assert parent_with_list(method.document, created) == parent


@pytest.mark.parametrize(
    "method_id",
    [
        "spanner.projects.instances.create",  # in the body
        "assuredworkloads:v1.organizations.locations.workloads.create",  # externalId
        "cloudbuild:v1.projects.locations.builds.create",  # projectId
        "file.projects.locations.instances.restore",
        "alloydb.projects.locations.clusters.delete",
    ],
)
def test_what_is_not_known(method_id: str) -> None:
    """It is not guessed."""
    method = find_method(method_id)
    assert id_parameter(method) is None
    assert created_by(method, {"parent": PLACE, "externalId": "e", "projectId": "p"}) is None


def test_of_how_many_methods_it_is_known() -> None:
    """Of each, the parameter is one of its query, and is called after the collection."""
    known = 0
    for name in documents():
        found = document(name)
        assert found is not None
        for short_id in found.method_ids:
            method = found.method(short_id)
            assert method is not None
            if (parameter := id_parameter(method)) is not None:
                known += 1
                assert not method.parameters[parameter].in_path
                assert short_id.endswith(".create")
    assert known >= 600
