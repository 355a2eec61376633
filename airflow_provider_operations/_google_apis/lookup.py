"""Which method or API of Google's is meant by an id that a person has written."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from airflow_provider_operations._google_apis.table import (
    Document,
    Method,
    default_version,
    document,
    documents,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UnknownMethod", "find_api", "find_method", "no_start"]

_MOST_SHOWN = 5


class UnknownMethod(ValueError):
    """An id for which there is no method or API, or several; the text says what to write instead."""


def find_method(method_id: str | Method) -> Method:
    """
    Return the method that starts an operation.

    :param method_id: ``file.projects.locations.instances.create``; with a version, ``file:v1.projects.…``. Or a method
        of a user's own document.
    :raises UnknownMethod: there is none, several versions have it, or it starts no operation of the standard form.
    """
    if isinstance(method_id, Method):
        return method_id
    if not isinstance(method_id, str):
        raise UnknownMethod(f"a method's id is text, and not {type(method_id).__name__}")
    api, _, short_id = method_id.partition(".")
    name, _, version = api.partition(":")
    if not short_id or not name:
        raise UnknownMethod(
            f"{method_id!r} is no method: an id is like file.projects.locations.instances.create, or with a version, "
            "file:v1.projects.locations.instances.create"
        )
    if not version:
        version = default_version(f"{name}.{short_id}") or _only_version(name, short_id)
    found = document(f"{name}:{version}")
    if found is None:
        raise _unknown_api(f"{name}:{version}")
    method = found.method(short_id)
    if method is None:
        raise no_start(found, short_id)
    return method


def find_api(api: str | Document) -> Document:
    """
    Return an API in one version.

    :param api: ``file``, or with a version, ``file:v1``. Or a user's own document.
    :raises UnknownMethod: there is none, or the version must be said.
    """
    if isinstance(api, Document):
        return api
    if not isinstance(api, str):
        raise UnknownMethod(f"an API's name is text, and not {type(api).__name__}")
    name, _, version = api.partition(":")
    version = version or default_version(name) or ""
    if not version and (versions := documents(name)):
        raise UnknownMethod(f"{name!r} is there in several versions, or in one that may change: say which, "
                            f"{_or(versions)}")  # fmt: skip
    found = document(f"{name}:{version}")
    if found is None:
        raise _unknown_api(api)
    return found


def _only_version(api: str, short_id: str) -> str:
    """Refuse to choose a version for a method that has no default."""
    here = documents(api)
    if not here:
        raise _unknown_api(api)
    having = [name for name in here if _has(name, short_id)]
    if having:
        raise UnknownMethod(
            f"{api}.{short_id} needs a version, as it is there in several, in one that may change, or in one whose "
            f"operations can't be asked for: {_or(f'{name}.{short_id}' for name in having)}"
        )
    for name in reversed(here):
        found = document(name)
        if found is not None and short_id in found.left_out:
            raise no_start(found, short_id)
    known = {each for name in here if (found := document(name)) for each in found.method_ids}
    raise UnknownMethod(
        f"{api} has no method {short_id} that starts an operation{_near(short_id, known, f'{api}.')}"
    )


def _has(name: str, short_id: str) -> bool:
    found = document(name)
    return found is not None and short_id in found.method_ids


def no_start(found: Document, short_id: str) -> UnknownMethod:
    """Return the error that a document has no start of this id, with the reason."""
    if why := found.left_out.get(short_id):
        return UnknownMethod(f"{found.name}.{short_id} can't be started by its id: it {why}")
    near = _near(short_id, found.method_ids, f"{found.name}.")
    return UnknownMethod(f"{found.name} has no method {short_id} that starts an operation{near}")


def _unknown_api(api: str) -> UnknownMethod:
    name, _, version = api.partition(":")
    if version and (versions := documents(name)):
        return UnknownMethod(f"{name} has no version {version} with operations; there is {_or(versions)}")
    known = {each.partition(":")[0] for each in documents()}
    return UnknownMethod(f"no API called {name!r} has operations{_near(name, known)}")


def _near(wrong: str, known: Iterable[str], before: str = "") -> str:
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(wrong.lower(), by_lower, n=_MOST_SHOWN, cutoff=0.75)
    return f"; did you mean {_or(before + by_lower[each] for each in near)}?" if near else ""


def _or(texts: Iterable[str]) -> str:
    return " or ".join(texts)
