"""What parameters become, and which are refused; that the requests are Google's is in ``test_requests``."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import uritemplate

from airflow_provider_operations._google_apis.call import (
    InvalidParameters,
    call_of,
    check_literals,
)
from airflow_provider_operations._google_apis.lookup import find_method
from airflow_provider_operations._protocol.names import InvalidName, location_in
from airflow_provider_operations._protocol.request_values import InvalidRequestValue

CREATE = "file.projects.locations.instances.create"
PATCH = "file.projects.locations.instances.patch"
CLUSTER = "redis.projects.locations.clusters.create"
PARENT = "projects/p/locations/europe-west1-b"
VALIDATES = "alloydb.projects.locations.clusters.promote"
TO_VALIDATE = {"name": "projects/p/locations/l/clusters/c"}
REPEATED = "gkeonprem.projects.locations.vmwareClusters.create"


def test_a_call() -> None:
    """Parameters go where the document has them."""
    call = call_of(find_method(CREATE), {"parent": PARENT, "instanceId": "nfs"}, {"tier": "BASIC_HDD"})
    assert (call.verb, call.path) == ("POST", f"/v1/{PARENT}/instances")
    assert (call.query, call.body) == ({"instanceId": "nfs"}, {"tier": "BASIC_HDD"})
    assert (call.request_id_in, call.starts_nothing) == (None, False)
    assert location_in(call.path) == "europe-west1-b"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        pytest.param("labels,tier", "labels,tier", id="text"),
        pytest.param(["labels", "fileShares"], "labels,fileShares", id="list"),
        pytest.param(("labels",), "labels", id="tuple"),
    ],
)
def test_field_masks(value: Any, sent: str) -> None:
    """A list of fields is joined by comma, as the services want it."""
    call = call_of(find_method(PATCH), {"name": f"{PARENT}/instances/i", "updateMask": value}, {})
    assert call.query == {"updateMask": sent}


@pytest.mark.parametrize(
    ("value", "sent"), [(True, "true"), (False, "false"), ("True", "true"), ("false", "false")]
)
def test_booleans(value: Any, sent: str) -> None:
    """A boolean is spelled as in JSON; a template makes text of it."""
    delete = find_method("file.projects.locations.instances.delete")
    assert call_of(delete, {"name": f"{PARENT}/instances/i", "force": value}).query == {"force": sent}


def test_what_is_left_out() -> None:
    """None stands for a parameter that isn't given; Google's global ones are few."""
    given = {"parent": PARENT, "instanceId": None, "quotaUser": "u", "$.xgafv": 2}
    assert call_of(find_method(CREATE), given).query == {"quotaUser": "u", "$.xgafv": "2"}


def test_a_number_for_text() -> None:
    """Airflow's native rendering turns an id of digits into a number."""
    assert call_of(find_method(CREATE), {"parent": PARENT, "instanceId": 7}).query == {"instanceId": "7"}


@pytest.mark.parametrize(
    ("method", "place", "parameters", "json"),
    [
        pytest.param(
            CLUSTER, "query", {"parent": "projects/p/locations/l", "requestId": "1"}, None, id="query"
        ),
        pytest.param(
            "batch.projects.locations.jobs.cancel",
            "body",
            {"name": "projects/p/locations/l/jobs/j"},
            {"requestId": "1"},
            id="body",
        ),
    ],
)
def test_request_ids(method: str, place: str, parameters: dict[str, Any], json: Any) -> None:
    """Where the documentation promises that a repetition is recognised; an author's own would stay the same for ever."""
    known = find_method(method)
    assert known.request_id_in == place
    with pytest.raises(InvalidParameters, match=r"leave 'requestId' .* out: each start gets one of its own"):
        call_of(known, parameters, json)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("retail.projects.locations.catalogs.branches.products.import", id="has-no-effect"),
        pytest.param("dataproc.projects.regions.workflowTemplates.instantiate", id="a-tag"),
        pytest.param("spanner.projects.instances.databases.updateDdl", id="names-the-operation"),
        pytest.param("dns:v1.outboundEndpoints.create", id="promises-nothing"),
    ],
)
def test_what_is_no_request_id(method: str) -> None:
    """A field that promises no deduplication isn't used for it, and the author may give it."""
    assert find_method(method).request_id_in is None


def test_validate_only() -> None:
    """A call that only validates starts nothing."""
    create = find_method("alloydb.projects.locations.clusters.create")
    given = {"parent": "projects/p/locations/l", "clusterId": "c"}
    assert not call_of(create, given).starts_nothing
    assert call_of(create, {**given, "validateOnly": True}).starts_nothing
    assert not call_of(create, {**given, "validateOnly": False}).starts_nothing


@pytest.mark.parametrize("said", ["true", "True"])
def test_validate_only_as_text(said: str) -> None:
    """In a body a template leaves text, which is sent as the boolean that it spells."""
    sync = find_method(VALIDATES)
    call = call_of(sync, TO_VALIDATE, {"validateOnly": said})
    assert (call.starts_nothing, call.body) == (True, {"validateOnly": True})
    call = call_of(sync, TO_VALIDATE, {"validateOnly": "False"})
    assert (call.starts_nothing, call.body) == (False, {"validateOnly": False})
    check_literals(sync, TO_VALIDATE, {"validateOnly": "{{ params.dry }}"})


BODIES: list[Any] = [
    pytest.param(
        "batch.projects.locations.jobs.cancel",
        {"name": "projects/p/locations/l/jobs/j"},
        {"request_id": "1"},
        "leave 'requestId' .* out",
        id="request-id",
    ),
    pytest.param(
        CREATE, {"parent": PARENT}, [{"tier": "X"}], "'json' of .* is an object, and not list", id="list"
    ),
    pytest.param(CREATE, {"parent": PARENT}, "tier", "'json' of .* is an object, and not str", id="text"),
    pytest.param(
        VALIDATES,
        TO_VALIDATE,
        {"validate_only": True},
        r"json\['validate_only'\] .* is spelled 'validateOnly'",
        id="validate-only",
    ),
    pytest.param(VALIDATES, TO_VALIDATE, {"validateOnly": "yes"}, "is true or false, and not str", id="yes"),
    pytest.param(VALIDATES, TO_VALIDATE, {"validateOnly": 1}, "is true or false, and not int", id="one"),
]


@pytest.mark.parametrize(("method", "parameters", "json", "says"), BODIES)
def test_refused_bodies(method: str, parameters: Any, json: Any, says: str) -> None:
    """A body that isn't one, or that a service may read in another way than we do, is refused at both times."""
    for check in (call_of, check_literals):
        with pytest.raises(InvalidParameters, match=says):
            check(find_method(method), parameters, json)


POLICY = "policies/cloudresourcemanager.googleapis.com%2Fprojects%2Fp/denypolicies"


def test_an_encoded_slash_stays_one() -> None:
    """Where a name holds another's as one segment the API wants it so, and Google's client sends it so."""
    create = find_method("iam:v2.policies.createPolicy")
    assert call_of(create, {"parent": POLICY}, {}).path == f"/v2/{POLICY}"
    assert uritemplate.expand("/v2/{+parent}", parent=POLICY) == f"/v2/{POLICY}"
    one_segment = call_of(find_method("cloudbuild.projects.builds.create"), {"projectId": "a%2Fb"}, {})
    assert one_segment.path == "/v1/projects/a%252Fb/builds"


def test_nothing_else_is_taken_for_encoded() -> None:
    """Other escapes are encoded once more, as in names."""
    parent = "policies/a%2fb%20c%41/denypolicies"
    call = call_of(find_method("iam:v2.policies.createPolicy"), {"parent": parent}, {})
    assert call.path == "/v2/policies/a%2fb%2520c%2541/denypolicies"


@pytest.mark.parametrize(
    "bad", ["a%2F..", "a%2F..%2Fb", "%2e%2e", "a%2F%2e%2E", "..%2Fa", "a%2F%2E", "a%2F..;x", "a%3Fb", "a%0Ab"]
)
def test_an_encoded_slash_leads_nowhere(bad: str) -> None:
    """What a value is when it is decoded stays in its place, too."""
    with pytest.raises(InvalidName):
        call_of(find_method("iam:v2.policies.createPolicy"), {"parent": f"policies/{bad}/denypolicies"}, {})


REFUSED: list[Any] = [
    pytest.param(CREATE, {"paren": PARENT}, "no parameter 'paren'; did you mean 'parent'", id="name"),
    pytest.param(
        CREATE, {"parent": PARENT, "tier": "X"}, "belongs into the body goes into 'json'", id="body"
    ),
    pytest.param(CREATE, {"instanceId": "i"}, "needs the parameter 'parent'", id="missing"),
    pytest.param(CREATE, {"parent": "p"}, r"like projects/\*/locations/\*, and not 'p'", id="pattern"),
    pytest.param(CREATE, {"parent": f"{PARENT}/x"}, "is like", id="too-long"),
    pytest.param(CREATE, {"parent": PARENT, "instanceId": True}, "is text, and not bool", id="type"),
    pytest.param(CREATE, {"parent": PARENT, "instanceId": ["a"]}, "is text, and not list", id="list"),
    pytest.param(CREATE, {"parent": PARENT, "key": "k"}, "has no parameter 'key'", id="key"),
    pytest.param(CREATE, {"parent": PARENT, "access_token": "t"}, "no parameter 'access_token'", id="token"),
    pytest.param(CREATE, {"parent": PARENT, "alt": "media"}, "has no parameter 'alt'", id="alt"),
    pytest.param(CREATE, {"parent": PARENT, "fields": "name"}, "has no parameter 'fields'", id="fields"),
    pytest.param(CREATE, ["parent"], "are names and values, not list", id="no-mapping"),
    pytest.param(PATCH, {"name": f"{PARENT}/instances/i", "updateMask": []}, "names no field", id="no-field"),
    pytest.param(
        PATCH,
        {"name": f"{PARENT}/instances/i", "updateMask": ["a", None]},
        "has None in it",
        id="mask-of-None",
    ),
    pytest.param(
        REPEATED, {"parent": "projects/p/locations/l", "skipValidations": ["a", None]}, "has None", id="None"
    ),
]


@pytest.mark.parametrize(("method", "parameters", "says"), REFUSED)
def test_refused(method: str, parameters: Any, says: str) -> None:
    """What can't be meant is refused before anything is sent, when it is parsed and when it is rendered."""
    for check in (
        lambda known: call_of(known, parameters),
        lambda known: check_literals(known, parameters, None),
    ):
        with pytest.raises(InvalidParameters, match=says):
            check(find_method(method))


@pytest.mark.parametrize("bad", ["..", ".", "a?b", "a#b", "a\\b", "a\nb"])
def test_values_stay_in_their_place(bad: str) -> None:
    """No value leaves its place in the path, though its pattern would let it."""
    with pytest.raises(InvalidName):
        call_of(find_method(CREATE), {"parent": f"projects/p/locations/{bad}"})
    with pytest.raises((InvalidName, InvalidParameters)):
        call_of(find_method("cloudbuild.projects.builds.create"), {"projectId": bad})


def test_a_slash_in_one_segment() -> None:
    """In a parameter of one segment a slash is encoded."""
    call = call_of(find_method("cloudbuild.projects.builds.create"), {"projectId": "a/b"}, {})
    assert call.path == "/v1/projects/a%2Fb/builds"


def test_dicts_are_refused() -> None:
    """An object is spread over dotted names by the author, who knows which of its fields are meant."""
    with pytest.raises(InvalidRequestValue, match="a field of it as a parameter of its own"):
        call_of(find_method(CREATE), {"parent": PARENT, "instanceId": {"a": 1}})


def test_allowed_values() -> None:
    """Of a value that isn't allowed, those that are are told, and the likeliest; the value, which may be a secret, isn't."""
    delete = find_method("apigee.organizations.delete")
    assert call_of(delete, {"name": "organizations/o", "retention": "MINIMUM"}).query == {
        "retention": "MINIMUM"
    }
    with pytest.raises(
        InvalidParameters, match=r"is one of .*, NO_RETENTION; did you mean 'MINIMUM'\?"
    ) as refused:
        check_literals(delete, {"name": "organizations/o", "retention": "MINIMAL"}, None)
    assert "MINIMAL" not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (
            "aiplatform:v1beta1.projects.locations.exampleStores.create",
            {"parent": "projects/p/locations/europe-west1"},
        ),
        ("drive.files.download", {"fileId": "f"}),
        ("servicemanagement.services.undelete", {"serviceName": "s.example.com"}),
        ("serviceusage:v1beta1.services.generateServiceIdentity", {"parent": "projects/p/services/s"}),
    ],
)
def test_posts_without_a_body(method: str, parameters: dict[str, Any]) -> None:
    """Four methods are called by POST and take no body; none is sent, and a given one is refused."""
    known = find_method(method)
    call = call_of(known, parameters)
    assert (call.verb, call.body) == ("POST", None)
    with pytest.raises(InvalidParameters, match="takes no 'json'"):
        call_of(known, parameters, {})


def test_no_body() -> None:
    """A method without a body takes none."""
    delete = find_method("file.projects.locations.instances.delete")
    with pytest.raises(InvalidParameters, match="takes no 'json'"):
        call_of(delete, {"name": f"{PARENT}/instances/i"}, {"force": True})


def test_moments_and_durations() -> None:
    """They are spelled as everywhere else."""
    method = find_method("spanner.projects.instances.databases.create")
    assert method.takes_body
    now = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
    call = call_of(method, {"parent": "projects/p/instances/i"}, {"at": now, "for": timedelta(seconds=3.5)})
    assert call.body == {"at": "2026-11-28T12:00:00Z", "for": "3.5s"}


def test_templates_are_left_until_they_are_rendered() -> None:
    """When the DAG is parsed, only what is literal is checked; names are always."""
    create = find_method(CREATE)
    check_literals(create, {"parent": "{{ params.parent }}", "instanceId": "{{ ds }}"}, "{{ params.body }}")
    check_literals(create, "{{ params.all }}", None)
    check_literals(create, {"parent": object()}, None)
    check_literals(create, {"parent": PARENT}, {"tier": object(), "labels": {"a": "{{ ds }}"}})
    with pytest.raises(InvalidParameters, match="no parameter"):
        check_literals(create, {"parent": "{{ x }}", "instanceid": "{{ x }}"}, None)
