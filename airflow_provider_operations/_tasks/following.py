"""
Which operation creates what a start was to create, if the start is refused as that exists (``if_exists="wait"``).

It is another's: it may be waited for, and is never cancelled. Which one it is, its metadata says, and nothing else. One
that runs on the same resource may as well delete it, so it has to say what it does, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.names import InvalidName, checked_name
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.operation import Operation, detail_fields

if TYPE_CHECKING:
    from airflow_provider_operations._google_apis.table import Method
    from airflow_provider_operations._protocol.retries import Retries
    from airflow_provider_operations.hooks.worker import WorkerClient

__all__ = ["NotFound", "Sought", "check_following", "created_resource", "find", "sought"]

PAGE_SIZE = 500
MAX_PAGES = 10
"""In a longer list, whether there is exactly one isn't known."""

_DOES = ("verb", "method", "operationType", "type")
"""Where metadata says what an operation does: ``create``, ``google.…Service.CreateConnector``, ``CREATE_FUNCTION``."""


class NotFound(NamedTuple):
    """
    Why no operation is followed.

    :param transient: another look may find one.
    """

    why: str
    transient: bool = False


@dataclass(frozen=True)
class Sought:
    """
    What an operation has to say of itself.

    :param resource: its ``metadata.target``.
    :param does: what it does: ``create``, also as ``CreateThing`` or ``CREATE_THING``, if the resource is a thing.
    :param parent: what it is listed under; ``None``: the API has no list for it.
    """

    resource: str
    does: str
    parent: str | None


def check_following(
    if_exists: str, resource_name: Any, method: Method | None, parameters: Any, *, comes: bool
) -> None:
    """
    Check when a DAG is parsed that what a start creates will be known.

    :param comes: whether a function will return the request, and may name it.
    :raises ValueError: it won't, or the API lists no operations, or nobody asks for it.
    """
    if if_exists != "wait":
        if resource_name is not None:
            raise ValueError(
                "'resource_name' is what if_exists='wait' looks for: without that it has no effect"
            )
        return
    if method is not None and "list" not in method.document.verbs:
        raise ValueError(
            f"if_exists='wait' has to find the operation that runs, and {method.document.name} lists none"
        )
    if resource_name is not None or comes:
        return
    if method is None:
        raise ValueError(_needs("a path doesn't say it"))
    from airflow_provider_operations._google_apis.created import id_parameter

    name = id_parameter(method)
    if name is None:
        raise ValueError(_needs(f"it isn't known of {method.id}"))
    if isinstance(parameters, Mapping) and not parameters.get(name):
        raise ValueError(_needs(f"without parameters[{name!r}] {method.id} doesn't say it"))


def created_resource(resource_name: Any, method: Method | None, parameters: Any) -> str:
    """
    Return the name of the resource that a start is to create.

    :param resource_name: as given; empty: it follows from the method's parameters.
    :raises ValueError: it doesn't, or isn't a name.
    """
    if not isinstance(resource_name, str | None):
        raise ValueError(  # noqa: TRY004  the value of an argument is wrong, not its type
            f"'resource_name' is text, and not {type(resource_name).__name__}"
        )
    name = resource_name
    if not name and method is not None:
        from airflow_provider_operations._google_apis.created import created_by

        name = created_by(method, parameters or {})
    if not name:
        raise ValueError(_needs("nothing says it"))
    checked_name(name, "resource name")
    return name


def _needs(why: str) -> str:
    return (
        "if_exists='wait' looks for the operation that creates the same resource, so its name has to be known, and "
        f"{why}: give 'resource_name', such as 'projects/my-project/things/x'"
    )


def sought(resource: str, method: Method | None, path: str) -> Sought:
    """
    Return what to look for.

    :param path: of the start, if no method says what that does.
    """
    if method is None:
        does = path.rpartition("/")[2].partition(":")[2] or "create"
        return Sought(resource, does, _usual_parent(resource))
    from airflow_provider_operations._google_apis.created import parent_with_list

    does = method.short_id.rpartition(".")[2]
    return Sought(resource, does, parent_with_list(method.document, resource))


def _usual_parent(resource: str) -> str:
    """
    Return what services list the operations about a resource under: its location, else what its name begins with.

    Source: https://google.aip.dev/151
    """
    if found := re.match(r"(?:.*?/)?locations/[^/]+(?=/)", resource):
        return found[0]
    segments = resource.split("/")
    return "/".join(segments[:2]) if len(segments) > 3 else ""


def find(hook: WorkerClient, wanted: Sought, retries: Retries, until_epoch_s: float) -> Operation | NotFound:
    """
    Return the one operation that runs and creates the resource.

    :param retries: of all pages of the list together.
    :param until_epoch_s: the task's deadline, after which no further page is asked for.
    """
    if wanted.parent is None:
        return NotFound(f"the API doesn't list the operations about {wanted.resource}")
    place = f"under {wanted.parent}" if wanted.parent else "of the service"
    listed = _list(hook, wanted.parent, wanted.resource, retries, until_epoch_s)
    if isinstance(listed, CallFailure):
        said = f"{listed.problem}, {listed.status.code_name}"
        return NotFound(f"the operations {place} can't be listed: {said}", listed.transient)
    if isinstance(listed, NotFound):
        return listed._replace(why=f"{listed.why} {place}")
    running, about = listed
    if not about:
        return NotFound(f"of {running} operations that run {place} none has {wanted.resource} as its target")
    if len(about) > 1:
        return NotFound(f"{len(about)} operations run {place} that have {wanted.resource} as their target")
    return _of_its_kind(next(iter(about.values())), wanted)


def _of_its_kind(found: Operation, wanted: Sought) -> Operation | NotFound:
    try:
        checked_name(found.name, "operation name")
    except InvalidName as error:
        return NotFound(f"the one that runs can't be asked for: {error}")
    does = _what_it_does(found)
    if does is None:
        return NotFound(f"{found.name}, whose target is {wanted.resource}, doesn't say what it does")
    if not _is_meant(does, wanted):
        said = one_line(does, 100)
        return NotFound(f"{found.name}, whose target is {wanted.resource}, says that it does {said!r}")
    return found


def _what_it_does(operation: Operation) -> str | None:
    fields = detail_fields(operation.metadata)
    texts = (fields.get(key) for key in _DOES)
    said = next((text for text in texts if isinstance(text, str) and text), None)
    return None if said is None else re.split("[./]", said)[-1]


def _is_meant(does: str, wanted: Sought) -> bool:
    """Tell whether an operation does what is sought, and does it to the resource: not ``CreateBackup`` to a thing."""
    from airflow_provider_operations._google_apis.created import singulars

    said = re.sub("[_-]", "", does).casefold()
    collection = wanted.resource.split("/")[-2:][0].casefold()
    of_what = {"", collection, *singulars(collection)}
    return said in {wanted.does.casefold() + what for what in of_what}


def _list(
    hook: WorkerClient, parent: str, target: str, retries: Retries, until_epoch_s: float
) -> tuple[int, dict[str, Operation]] | CallFailure | NotFound:
    """
    Return how many operations run under a parent, and those of them that are about a target.

    They are by name, as one may be on two pages of a list that changes. Others aren't kept: a page may have megabytes.
    """
    filter_: str | None = hook.settings.list_filter or None
    running, about = 0, dict[str, Operation]()
    token: str | None = None
    read: set[str] = set()
    end_s = clock.now() + retries.for_s
    for _ in range(MAX_PAGES):
        retries = replace(retries, for_s=max(end_s - clock.now(), 0.0))
        page = hook.list_page(parent, filter_, PAGE_SIZE, token, retries)
        if isinstance(page, CallFailure) and filter_ is not None and page.http_status in {400, 501}:
            filter_, token, running, about = None, None, 0, {}  # it may be the filter that isn't understood
            page = hook.list_page(parent, None, PAGE_SIZE, None, retries)
        if isinstance(page, CallFailure):
            return page
        operations, token = page
        for one in operations:
            running += not one.done
            if not one.done and detail_fields(one.metadata).get("target") == target:
                about[one.name] = one
        if not token or token in read:  # as for the hooks, a page that was read before is the end
            return running, about
        read.add(token)
        if clock.now() >= until_epoch_s:
            return NotFound("the task's time was up before all operations were listed", transient=True)
    return NotFound(f"more than {MAX_PAGES} pages of operations are listed")
