"""Which method is meant by an id, and what is said where none is."""

from __future__ import annotations

import pytest

from airflow_provider_operations._google_apis.lookup import UnknownMethod, find_api, find_method


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file.projects.locations.instances.create", "file:v1.projects.locations.instances.create"),
        (
            "file:v1beta1.projects.locations.instances.create",
            "file:v1beta1.projects.locations.instances.create",
        ),
        ("run.projects.locations.jobs.run", "run:v2.projects.locations.jobs.run"),
        ("aiplatform.datasets.datasetVersions.restore", "aiplatform:v1.datasets.datasetVersions.restore"),
        ("cloudidentity:v1.groups.create", "cloudidentity:v1.groups.create"),
    ],
)
def test_found(written: str, meant: str) -> None:
    """Without a version the one stable version that has it and can be asked for its operations; else the one that is said."""
    assert find_method(written).id == meant


@pytest.mark.parametrize(
    ("written", "says"),
    [
        pytest.param(
            "file.projects.locations.instances.creat",
            r"has no method .*; did you mean file\.projects\.locations\.instances\.create or ",
            id="typo",
        ),
        pytest.param(
            "file:v1.projects.locations.instances.CREATE",
            r"did you mean file:v1\.projects\.locations\.instances\.create or ",
            id="case",
        ),
        pytest.param(
            "fil.projects.locations.instances.create", r"no API called 'fil' .* mean file\?", id="api"
        ),
        pytest.param("file:v9.projects.x", "file has no version v9 .* file:v1 or file:v1beta1", id="version"),
        pytest.param(
            "notebooks.projects.locations.instances.create",
            r"needs a version, .*notebooks:v1\.projects\.\S+ or notebooks:v2\.projects",
            id="several-stable-versions",
        ),
        pytest.param(
            "workstations.projects.locations.operations.get", "has no method", id="asks-for-an-operation"
        ),
        pytest.param(
            "lifesciences.projects.locations.pipelines.run", "lifesciences:v2beta", id="pre-release"
        ),
        pytest.param("cloudidentity.groups.create", "cloudidentity:v1", id="without-get"),
        pytest.param("compute.instances.insert", "isn't the standard one: it lacks done", id="compute"),
        pytest.param(
            "container.projects.locations.clusters.create", "isn't the standard one", id="container"
        ),
        pytest.param("checks:v1alpha.media.upload", "uploads media", id="media"),
        pytest.param("aiplatform.projects.locations.operations.wait", "started before", id="wait"),
        pytest.param("create", "is no method: an id is like", id="no-id"),
        pytest.param("", "is no method", id="empty"),
        pytest.param(":v1.x", "is no method", id="no-api"),
    ],
)
def test_not_found(written: str, says: str) -> None:
    """The error says what to write instead, or why there is no such start."""
    with pytest.raises(UnknownMethod, match=says):
        find_method(written)


@pytest.mark.parametrize(
    "written",
    [
        "auditmanager:v1.projects.locations.operationDetails.get",
        "auditmanager:v1.projects.locations.operationIds.get",
        "deepreview:v1.operations.documents.reviews.get",
        "streetviewpublish:v1.photoSequence.get",
        "containeranalysis:v1alpha1.projects.operations.create",
        "containeranalysis:v1alpha1.projects.operations.patch",
        "remotebuildexecution:v2.operations.waitExecution",
        "workstations:v1.projects.locations.operations.get",
    ],
)
def test_what_answers_with_an_operation_and_starts_none(written: str) -> None:
    """These ask for an operation, or write one down: the table has them for no start."""
    with pytest.raises(UnknownMethod):
        find_method(written)


def test_a_start_by_get() -> None:
    """One of Vertex AI's starts is a GET, and is one all the same."""
    assert find_method("aiplatform.projects.locations.datasets.datasetVersions.restore").verb == "GET"


def test_apis() -> None:
    """An API without a method, for what waits for operations that others have started."""
    assert find_api("file").name == "file:v1"
    assert find_api("file:v1beta1").name == "file:v1beta1"
    with pytest.raises(UnknownMethod, match="cloudresourcemanager:v1 or"):
        find_api("cloudresourcemanager")
    with pytest.raises(UnknownMethod, match="did you mean file"):
        find_api("flie")
