"""
What a method of Google's creates, by name, and where the operation that does so is listed.

The name isn't in the API documents. It is known where the method posts to a collection under a parent, and has one
parameter for the new resource's id: ``parent``, the collection, and that id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_operations._google_apis.table import Document, Method

__all__ = ["created_by", "id_parameter", "parent_with_list", "singulars"]

_COLLECTION = re.compile(r"[\w./-]*\{\+(\w+)\}/(\w+)")
"""``v1/{+parent}/instances``."""


def id_parameter(method: Method) -> str | None:
    """Return the parameter for the new resource's id, e.g. ``instanceId``; ``None``: what it creates isn't known."""
    found = _COLLECTION.fullmatch(method.path) if method.verb == "POST" else None
    if found is None:
        return None
    # Others end so, too, such as ``projectId``; a collection ``revisions`` may have ``skillRevisionId``.
    ids = [
        name
        for name, parameter in method.parameters.items()
        if not parameter.in_path and name.endswith("Id") and name[:-2].lower().endswith(singulars(found[2]))
    ]
    return ids[0] if len(ids) == 1 else None


def singulars(collection: str) -> tuple[str, ...]:
    """Return what one of a collection may be called, in lower case: ``instance`` of ``instances``."""
    plural = collection.lower()
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    return tuple(
        plural.removesuffix(ending) + instead for ending, instead in endings if plural.endswith(ending)
    )


def created_by(method: Method, parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the resource that a method creates; ``None``: it isn't known."""
    found, of_id = _COLLECTION.fullmatch(method.path), id_parameter(method)
    if found is None or of_id is None or not parameters.get(of_id):
        return None
    return f"{parameters[found[1]]}/{found[2]}/{parameters[of_id]}"


def parent_with_list(api: Document, resource: str) -> str | None:
    """
    Return what the operations about a resource are listed under: the nearest that the API has a list for.

    :return: ``None``: there is none; empty: all of the API's are in one list.
    """
    segments = resource.split("/")
    for end in range(len(segments), -1, -1):
        parent = "/".join(segments[:end])
        if "list" in api.verbs_of(f"{parent}/operations/x".removeprefix("/")):
            return parent
    return None
