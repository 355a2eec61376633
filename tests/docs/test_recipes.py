"""The recipes against the API documents that google-api-python-client brings along."""

from __future__ import annotations

import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from googleapiclient.discovery_cache import DISCOVERY_DOC_DIR

from airflow_provider_operations._google_apis.lookup import UnknownMethod, find_method
from airflow_provider_operations._protocol.request import Service
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import RunOperationOperator
from tests.hooks.google_documents import OPERATION_FIELDS, document
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

from .markdown import DOCS, Section, codes, sections, slug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations._lifecycle.start_call import StartCall
    from tests.hooks.google_documents import Document, Method

SCOPE = "https://www.googleapis.com/auth/"
TEXT = (DOCS / "recipes.md").read_text(encoding="utf-8")
RECIPES = {section.title: section for section in sections(TEXT) if section.cells("document")}
NO_OPERATION = "Dataflow Flex templates"
REQUEST_ID = "requestId"

read = cache(document)


def raw_method(api: Document, method_id: str) -> dict[str, Any]:
    """Return a method's description in a document, by its path there: ``projects.builds.create``."""
    *resources, verb = method_id.split(".")
    found: dict[str, Any] = api.raw
    for resource in resources:
        found = found.get("resources", {}).get(resource, {})
    method: dict[str, Any] = found.get("methods", {}).get(verb, {})
    return method


def schema_fields(api: Document, reference: dict[str, Any] | None) -> dict[str, Any]:
    fields: dict[str, Any] = api.raw["schemas"].get((reference or {}).get("$ref"), {}).get("properties", {})
    return fields


def is_operation(api: Document, method: dict[str, Any]) -> bool:
    """Tell whether a method answers with the standard operation."""
    return schema_fields(api, method.get("response")).keys() == OPERATION_FIELDS


ROWS = ("document", "scopes", "request id", "name", "methods")
ROWS_OF_NO_OPERATION = ("document", "scopes", "answers", "state")


def _problems_of_the_form(recipe: Section) -> Iterator[str]:
    answers_at_once = recipe.title == NO_OPERATION
    kinds = [] if answers_at_once else ["json", "python"]
    for row in ROWS_OF_NO_OPERATION if answers_at_once else ROWS:
        if len(recipe.cells(row)) != 1:
            yield f"the table has {len(recipe.cells(row))} rows {row!r} instead of one"
    if not recipe.cells("start"):
        yield "the table has no row 'start'"
    if [block.language for block in recipe.blocks] != kinds:
        yield f"the blocks are {[block.language for block in recipe.blocks]}, and not {kinds}"


def problems(recipe: Section) -> Iterator[str]:
    """Compare a recipe with its document; yield what is wrong with it."""
    if form := list(_problems_of_the_form(recipe)):
        yield from form
        return
    name = codes(recipe.cell("document"))[0]
    try:
        api = read(name)
    except FileNotFoundError:
        yield f"there is no API document {name} in {DISCOVERY_DOC_DIR}"
        return
    starts = [codes(cell) for cell in recipe.cells("start")]
    for method_id, shown, *_ in starts:
        method = raw_method(api, method_id)
        if not method:
            yield f"there is no method {method_id}"
            return
        if shown != f"{method['httpMethod']} {api.raw['servicePath']}{method['path']}":
            yield f"{method_id} is not {shown}"
        if {SCOPE + scope for scope in codes(recipe.cell("scopes"))} != set(method["scopes"]):
            yield f"the scopes of {method_id} are {method['scopes']}"
    for method_id in codes(" ".join(recipe.cells("no operations"))):
        method = raw_method(api, method_id)
        if not method or is_operation(api, method):
            yield f"{method_id} isn't there, or answers with an operation"
    if recipe.title == NO_OPERATION:
        yield from _problems_of_no_operation(recipe, api, raw_method(api, starts[0][0]))
        return

    tasks, wrong = _tasks(recipe)
    yield from wrong
    if not wrong and len(tasks) != len(starts):
        yield f"{len(tasks)} tasks for {len(starts)} starts: each start is one task, in the same order"
    for task, (method_id, *_) in zip(tasks, starts, strict=False):
        try:
            settings, call = _connected(recipe, task)
        except ValueError as error:
            yield f"{task.task_id}: {error}"
            continue
        host = settings.service.base_url.removeprefix("https://")
        if host not in api.hosts:
            yield f"{host} is not a host of {api.name}"
        yield from _problems_of_the_name(recipe, api, settings)
        for problem in _problems_of_a_start(recipe, api, settings, task, call, raw_method(api, method_id)):
            yield f"{task.task_id}: {problem}"


def _problems_of_no_operation(recipe: Section, api: Document, launch: dict[str, Any]) -> Iterator[str]:
    if [launch["response"]["$ref"]] != codes(recipe.cell("answers")) or is_operation(api, launch):
        yield f"it answers with {launch['response']['$ref']}"
    if api.methods() or any(
        is_operation(api, method) for _, methods in _all_methods(api.raw) for method in methods.values()
    ):
        yield f"{api.name} has operations"
    method_id, shown, state = codes(recipe.cell("state"))
    method = raw_method(api, method_id)
    if not method or shown != f"{method['httpMethod']} {method['path']}":
        yield f"{method_id} is not {shown}"
    elif state not in schema_fields(api, method["response"]):
        yield f"{method_id} answers with no {state}"


def _all_methods(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in raw.get("resources", {}).items():
        yield name, resource.get("methods", {})
        yield from _all_methods(resource)


def _tasks(recipe: Section) -> tuple[list[RunOperationOperator], list[str]]:
    """Return the tasks of the recipe's DAG, and what of it can't be parsed."""
    (block,) = (block for block in recipe.blocks if block.language == "python")
    from airflow.dag_processing.dagbag import DagBag

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.py"
        file.write_text(block.text)
        bag = DagBag(file)
    tasks = [
        task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, RunOperationOperator)
    ]
    return tasks, list(bag.import_errors.values())


def _connected(recipe: Section, task: RunOperationOperator) -> tuple[Settings, StartCall]:
    """
    Return what the recipe's connection says to the task, and the task's start.

    :raises ValueError: one of them isn't right.
    """
    (block,) = (block for block in recipe.blocks if block.language == "json")
    assert json.loads(block.text)["conn_type"] == "operations"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"AIRFLOW_CONN_{task.operations_conn_id.upper()}", block.text)
        return task.hook.settings, task._call()


def _problems_of_the_name(recipe: Section, api: Document, settings: Settings) -> Iterator[str]:
    """Find the resource that the name belongs to, and compare methods and settings with it."""
    (name,) = codes(recipe.cell("name"))
    asked_at = settings.service.get_operation(name).target.removeprefix("/")
    by_resource: dict[tuple[str, ...], list[Method]] = {}
    for method in api.methods():
        if method.standard is not False:
            by_resource.setdefault(method.resources, []).append(method)
    (matching, *_) = [
        *(methods for methods in by_resource.values() if any(_is_at(one, asked_at) for one in methods)),
        [],
    ]
    if not matching:
        yield f"no operation of {api.name} is asked for at {asked_at}"
        return
    if set(codes(recipe.cell("methods"))) != {method.verb for method in matching}:
        yield f"the methods are {sorted(method.verb for method in matching)}"
    wanted: dict[str, str] = {}
    for method in matching:
        if method.verb != "list":
            spelling = method.spelling()
            if spelling.path_prefix != settings.service.path_prefix:
                yield f"the prefix of {method} is {spelling.path_prefix}"
            wanted |= spelling.extra
    said = {
        key: getattr(settings.service, key) for key in ("cancel_suffix", "cancel_method", "wait_timeout_in")
    }
    if {key: value for key, value in said.items() if value != getattr(Service, key)} != wanted:
        yield f"the connection needs {wanted}"


def _is_at(method: Method, path: str) -> bool:
    """Tell whether this is the get of what is at a path."""
    if method.verb != "get":
        return False
    head, name, tail = re.split(r"\{\+?(\w+)\}", method.template)  # one variable in all get methods
    inner = path.removeprefix(head)
    pattern = method.parameters[name].get("pattern", "^[^/]+$")
    return (
        path.startswith(head) and not tail and bool(re.fullmatch(pattern.replace("^.*$", "^[^/]*$"), inner))
    )


def _problems_of_a_start(
    recipe: Section,
    api: Document,
    settings: Settings,
    task: RunOperationOperator,
    call: StartCall,
    method: dict[str, Any],
) -> Iterator[str]:
    request = settings.service.start_operation(
        call.path, method=call.method, body=call.body, query=call.query, encoded=call.encoded
    )
    if request.method != method["httpMethod"]:
        yield f"{request.method} is not its method"
    path = request.target.partition("?")[0].removeprefix("/")
    template = api.raw["servicePath"] + method["path"]
    if not re.fullmatch(_path_pattern(template, method["parameters"]), path):
        yield f"{path} is not {template}"
    if not is_operation(api, method):
        yield f"it answers with {method['response']}"
    in_query = {name for name, one in method["parameters"].items() if one["location"] == "query"}
    if unknown := call.query.keys() - in_query:
        yield f"unknown parameters {sorted(unknown)}"
    yield from _problems_of_a_body(api, method.get("request"), call.body, "body")

    takes = {
        place: name
        for place, names in (("query", in_query), ("body", schema_fields(api, method.get("request"))))
        for name in names
        if name == REQUEST_ID
    }
    if takes.get(call.request_id_in) != call.request_id_field:
        yield f"it takes a request id in {takes}"
    method_ids = codes(recipe.cell("request id"))[2:]
    if (method["id"].partition(".")[2] in method_ids) != bool(takes):
        yield f"the line about request ids is wrong: {takes}"
    if takes and codes(recipe.cell("request id"))[:2] != [call.request_id_field, call.request_id_in]:
        yield "the line about request ids says otherwise"

    tokens: Any = settings.auth.tokens
    if not set(tokens.scopes) <= set(method["scopes"]):
        yield f"the connection asks for {tokens.scopes}"
    cancels = "cancel" in codes(recipe.cell("methods"))
    if (task.cancel_on_kill, task.cancel_on_timeout) != (cancels, cancels):
        yield "there is a cancel or there is none, and the task is told otherwise"


def test_recipes_can_be_had_by_method_ids() -> None:
    """What is said at the top of the page: each start is in the table, by the API's name, and so is its request id."""
    for recipe in RECIPES.values():
        name = codes(recipe.cell("document"))[0]
        for start in recipe.cells("start"):
            method_id = f"{name.partition(':')[0]}.{codes(start)[0]}"
            if recipe.title == NO_OPERATION:
                with pytest.raises(UnknownMethod):
                    find_method(method_id)
                continue
            method = find_method(method_id)
            assert method.document.name == name
            _, place, *with_id = codes(recipe.cell("request id")) or ["", ""]
            assert method.request_id_in == (place if codes(start)[0] in with_id else None)


def _path_pattern(template: str, parameters: dict[str, Any]) -> str:
    """Return the regular expression for a method's path, of its template and the patterns in the document."""
    parts = re.split(r"(\{\+?\w+\})", template)
    return "".join(
        parameters[part.strip("{+}")].get("pattern", "[^/]+").strip("^$")
        if part.startswith("{")
        else re.escape(part)
        for part in parts
    )


def _problems_of_a_body(
    api: Document, schema: dict[str, Any] | None, value: Any, where: str
) -> Iterator[str]:
    """Compare a JSON value with its schema: names, types, enumerations, all the way down."""
    schema = schema or {}
    if "$ref" in schema:
        schema = api.raw["schemas"][schema["$ref"]]
    kind = schema.get("type")
    types: dict[Any, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        None: type(None),
    }
    if not isinstance(value, types[kind]) and kind != "any":
        yield f"{where} is {kind or 'not there'}, not {value!r}"
    elif kind == "array":
        for item in value:
            yield from _problems_of_a_body(api, schema["items"], item, f"{where}[]")
    elif kind == "object":
        for key, item in value.items():
            field = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if field is None or field.get("readOnly"):
                yield f"{where} has no {key}"
            else:
                yield from _problems_of_a_body(api, field, item, f"{where}.{key}")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where} is one of {schema['enum']}, not {value}"


# --- services by nothing but their ids ---------------------------------------------------------------------------

MORE = {section.title: section for section in sections(TEXT[TEXT.index("## More services") :])}
NAMES = [
    f"{parent}operations/o"
    for parent in (
        "",
        "projects/p/locations/l/",
        "projects/p/regions/r/",
        "projects/p/locations/l/datasets/d/",
        "projects/p/locations/l/endpoints/e/",
    )
] + ["transferOperations/o"]
"""What the operations of these services are called like."""


def problems_of_more(text: str) -> Iterator[str]:
    """Compare the services that are there by their ids alone with the table and with Google's documents."""
    found = {section.title: section for section in sections(text[text.index("## More services") :])}
    parts = {title: section for title, section in found.items() if section.blocks}
    rows = found["More services"].rows[1:]
    tasks: list[RunOperationOperator] = []
    for title, section in parts.items():
        here, wrong = _tasks(section)
        yield from wrong
        tasks += here
        linked = [row for row in rows if row[0].endswith(f"](#{slug(title)})")]
        if len(linked) != len(here):
            yield f"{title}: {len(here)} tasks for {len(linked)} rows"
    for task, (service, method_id, request_id, cancels) in zip(tasks, rows, strict=False):
        if [task.api_method] != codes(method_id):
            yield f"{task.task_id} calls {task.api_method}, and its row says {method_id}"
        if text.count(f"\n- **{service.strip('[').partition(']')[0]}**: ") != 1:
            yield f"{service} has no paragraph, or several"
        method = find_method(str(task.api_method))
        api = read(method.document.name)
        if task.json is not None:
            request = raw_method(api, method.short_id).get("request")
            yield from _problems_of_a_body(api, request, task.json, f"{task.task_id}: body")
        if (request_id == "yes") != bool(method.request_id_in):
            yield f"{task.task_id} takes a request id in {method.request_id_in}"
        verbs = [verbs for name in NAMES if "get" in (verbs := method.document.verbs_of(name))]
        may_cancel = any("cancel" in each for each in verbs)
        if not verbs or cancels != ("yes" if may_cancel else "**no**"):
            yield f"{task.task_id} can be cancelled: {may_cancel}"
        if (task.cancel_on_kill, task.cancel_on_timeout) != (may_cancel, may_cancel):
            yield f"{task.task_id}: there is a cancel or there is none, and the task is told otherwise"


def test_more_services() -> None:
    """Each is a row, a task and a paragraph; body, request id and cancel are those of its document."""
    assert list(problems_of_more(TEXT)) == []


def test_there_are_thirty() -> None:
    """The services that people use most are there, those included that have no such operations."""
    assert len(RECIPES) - 1 + len(MORE["More services"].rows) - 1 >= 30


TYPOS_OF_MORE = [
    ("`composer.projects.locations.environments.create`", "`composer.projects.locations.environments.patch`"),
    ('"softwareConfig": {"imageVersion"', '"softwareConfig": {"imageVersions"'),
    ('"type": "BASIC"', '"type": "BASE"'),
    ('"numInstances": 2', '"numInstances": "2"'),
    ('"updateMask": ["state"]', '"updateMasks": ["state"]'),
    ("dataproc.projects.regions.clusters.create` | yes", "dataproc.projects.regions.clusters.create` | no"),
    ("environments.create` | no | **no**", "environments.create` | no | yes"),
    ("        **WITHOUT_CANCEL,\n", ""),
    ("- **Dataplex**: ", "- "),
    ("[Looker](#data)", "[Looker](#platform)"),
]


@pytest.mark.parametrize(("old", "new"), TYPOS_OF_MORE, ids=[old for old, _ in TYPOS_OF_MORE])
def test_a_typo_in_more_services_is_noticed(old: str, new: str) -> None:
    """What the test above is worth."""
    begin = TEXT.index("## More services")
    assert old in TEXT[begin:]
    assert list(problems_of_more(TEXT[:begin] + TEXT[begin:].replace(old, new, 1)))


# --- the tests -------------------------------------------------------------------------------------------------


def test_the_overview() -> None:
    """There are ten services or more, and the table at the top leads to each, in their order."""
    assert len(RECIPES) >= 10
    overview = sections(TEXT)[1].rows[1:] or sections(TEXT)[0].rows[1:]
    assert [row[0].strip("[").partition("]")[0] for row in overview] == list(RECIPES)
    for title, recipe in RECIPES.items():
        (row,) = (row for row in overview if row[0].startswith(f"[{title}]"))
        if title != NO_OPERATION:
            said = f"{title}: the table at the top says {row}, and the section otherwise"
            assert ("yes" in row[3]) == ("cancel" in codes(recipe.cell("methods"))), said
            assert (REQUEST_ID in row[2]) == (REQUEST_ID in recipe.cell("request id")), said


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title: str) -> None:
    """Host, prefix, name, methods, start, scopes, body, parameters and request id are those of the document."""
    found = list(problems(RECIPES[title]))
    assert found == [], "\n".join(found)  # all of them: pytest shows the first


TYPOS = [
    ("cloudbuild:v1", "cloudbuild:v2"),
    ('"host": "cloudbuild.googleapis.com"', '"host": "cloudbuilds.googleapis.com"'),
    ("projects.builds.create", "projects.build.create"),
    ("`POST v1/projects/{projectId}/builds`", "`PUT v1/projects/{projectId}/builds`"),
    ('path="projects/my-project/builds"', 'path="projects/my-project/build"'),
    ('"steps": [{"name"', '"steps": [{"nmae"'),
    ('"timeout": "1800s"', '"timeout": 1800'),
    ("`operations/build/my-project", "`builds/my-project"),
    ("europe-west1-aiplatform", "europe-west0-aiplatform"),
    ("`aiplatform`, `cloud-platform`", "`cloud-platform`"),
    ("projects.locations.customJobs.create", "projects.locations.models.upload"),
    ("`get`, `cancel`, `delete`, `list`, `wait`", "`get`, `cancel`, `delete`, `list`"),
    ("`LaunchFlexTemplateResponse` |", "`Operation` |"),
    ("`currentState` |", "`state` |"),
    ('"tier": "ZONAL"', '"tier": "ZONE"'),
    ('query={"instanceId": "scratch"}', 'query={"instance": "scratch"}'),
    ('request_id_field="requestId"', 'request_id_field="requestID"'),
    ('        request_id_field="requestId",\n', ""),
    ("| `requestId` in `query`", "| `requestId` in `body`"),
    ('method="PATCH"', 'method="POST"'),
    ("databases/(default):exportDocuments", "databases/(default)/exportDocuments"),
    ("`cloud-platform`, `datastore`", "`cloud-platform`, `firestore`"),
    ('"path_prefix": "v1/operations"', '"path_prefix": "v1"'),
    ('path="/v1/speech:', 'path="speech:'),
    ('"features": ["LABEL_DETECTION"', '"features": ["LABELS"'),
    ('"path_prefix": "v2"', '"path_prefix": "v1"'),
    (', "wait_timeout_in": "body"', ""),
    ("        cancel_on_kill=False,\n", ""),
    ('"taskCount": 1', '"taskCount": "1"'),
    ('"auth": "google"', '"auth": "google", "scope": "https://www.googleapis.com/auth/devstorage"'),
    ("| methods |", "| method |"),
    ("```json\n", "```\n"),
    (
        'api_method="alloydb.projects.locations.backups.create"',
        'api_method="alloydb.projects.locations.backups.make"',
    ),
    ('"backupId": "orders', '"backup": "orders'),
    ('"sqlExportOptions": {', '"sqlExportOption": {'),
    ("`POST v1/{+name}:export`", "`POST v1/{+parent}:export`"),
    ("`requestId` in `query`: `projects.locations.backups.create`", "none"),
]


@pytest.mark.parametrize(("old", "new"), TYPOS, ids=[f"{old} -> {new}" for old, new in TYPOS])
def test_a_typo_is_noticed(old: str, new: str) -> None:
    """What the test above is worth."""
    assert old in TEXT
    wrong = [section for section in sections(TEXT.replace(old, new, 1)) if section.cells("document")]

    def noticed(recipe: Section) -> bool:
        try:
            return bool(list(problems(recipe)))
        except KeyError:
            return True

    changed = [recipe for recipe in wrong if recipe != RECIPES[recipe.title]]
    assert any(map(noticed, changed))


def test_what_a_launch_of_dataflow_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text that the recipe warns of is the one that comes, after the job has been started."""
    from airflow_provider_operations.exceptions import OperationsCallErrorFinal

    with RawServer(sends(answer(200, b'{"job": {"id": "2026-11-24_1"}}'))) as server:
        set_connection(monkeypatch, server.url, "dataflow", extra={"path_prefix": "v1b3"})
        with OperationsHook("dataflow") as hook, pytest.raises(OperationsCallErrorFinal) as raised:
            hook.start_operation("projects/p/locations/l/flexTemplates:launch", json={})
    assert len(server.seen) == 1
    quoted = re.search(r"`(the answer is no operation[^`]*)`", TEXT)
    assert quoted
    assert quoted[1] in str(raised.value)
