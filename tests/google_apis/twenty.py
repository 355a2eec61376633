"""
Twenty methods of twenty APIs, and what Google's own client does with them.

Its requests come from its own documents; our table isn't asked.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from googleapiclient.discovery import fix_method_name

from tests.google_apis.test_requests import starts
from tests.hooks.google_documents import GoogleClient, document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.hooks.google_documents import Method

TWENTY: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "e2e/dags/twenty_methods.json").read_text()
)
"""
``{"document": "file:v1", "method", "parameters", "json", "operation"}``: document as the method is meant, and the name
of its operation, in which ``RUN`` stands for anything.
"""


class BesideUs:
    """
    Google's client for one method and its operations.

    :param name: of the document, e.g. ``file:v1``.
    :param method: with or without a version.
    :param url: where to instead of to Google.
    """

    def __init__(self, name: str, method: str, url: str) -> None:
        described = document(name)
        wanted = f"{name}.{method.partition('.')[2]}"
        (self._start,) = (each for each in starts(described) if each.id == wanted)
        self._gets = [each for each in described.methods() if each.verb == "get" and each.standard]
        methods: Any = [self._start, *self._gets]
        self._client = GoogleClient(described, methods, url)

    def __enter__(self) -> BesideUs:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    def start(self, parameters: Mapping[str, Any], body: Any) -> Any:
        """Return the ``HttpRequest`` that starts an operation, not yet sent."""
        given = {
            key: ",".join(value) if isinstance(value, list) else value for key, value in parameters.items()
        }
        ask = getattr(self._client.resource(self._start.resources), fix_method_name(self._start.verb))
        return ask(**given, **({} if body is None else {"body": body}))

    def gets(self, name: str) -> list[Any]:
        """Return each ``HttpRequest`` by which an operation of this name can be read."""
        return [self._client.request(get, values) for get in self._gets if (values := _values_of(get, name))]


def _values_of(get: Method, name: str) -> dict[str, str] | None:
    """Return the parameters by which a method asks for an operation of this name, if it can."""
    template = get.template if get.flat else "{+name}"
    template = re.sub(r"^v\d\w*/", "", template)

    def group(variable: re.Match[str]) -> str:
        pattern = get.parameters[variable[1]].get("pattern", "^[^/]+$")
        return f"(?P<{variable[1]}>{pattern[1:-1]})"

    found = re.fullmatch(re.sub(r"\{\+?(\w+)\}", group, template), name)
    return found.groupdict() if found else None
