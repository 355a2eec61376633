"""The table in the documentation: every API in every version, and what its operations have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PAGE", "page_with", "table_of"]

PAGE = Path(__file__).parents[3] / "docs" / "google-methods.md"

_BEGIN, _END = "<!-- The table is made by make google-apis. -->\n", "<!-- End of the table. -->\n"
_VERBS = ("get", "cancel", "list", "wait")


def table_of(found: Mapping[str, dict[str, Any]], defaults: Mapping[str, str]) -> str:
    """
    Return the table as Markdown.

    :param found: the entries of the table, by document.
    :param defaults: as ``generate.defaults`` returns them.
    """
    lines = [
        "| API | methods | without a version | with a request id | get | cancel | list | wait |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in sorted(found.items()):
        if not entry["methods"]:
            continue
        api, _, version = name.partition(":")
        default = sum(defaults.get(f"{api}.{short_id}") == version for short_id in entry["methods"])
        with_id = sum("request_id" in method for method in entry["methods"].values())
        cells = [
            f"`{name}` {entry['title'].strip()}",
            len(entry["methods"]),
            default or "",
            with_id or "",
            *(_of_operations(entry["operations"], verb) for verb in _VERBS),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _of_operations(operations: list[Any], verb: str) -> str:
    """Say whether operations have a method: all that can be asked for, or only those with some names."""
    asked = [verbs for _, verbs in operations if "get" in verbs]
    having = [verbs for verbs in asked if verb in verbs]
    if not having:
        return ""
    return "yes" if len(having) == len(asked) else "some"


def page_with(text: str, table: str) -> str:
    """Return the page with this table in it."""
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"
