"""
``python -m tests.tooling.google_apis.generate``: make the table anew from the installed google-api-python-client.

The table has one compressed member for each document. Defaults of versions are only added to.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import airflow_provider_operations
from airflow_provider_operations._google_apis.extract import entry_of, has_standard_get
from tests.hooks.google_documents import documents
from tests.tooling.google_apis.page import PAGE, page_with, table_of
from tests.tooling.google_apis.request_ids import Promises

__all__ = ["DEFAULTS", "TABLE", "archive", "committed_defaults", "defaults", "entries", "kept_defaults"]

ROOM = Path(airflow_provider_operations.__file__).parent / "_google_apis"
TABLE, DEFAULTS = ROOM / "methods.zip", ROOM / "defaults.txt"

HEAD = "# The version that is meant where none is said. Made by make google-apis, which only adds to it."

_STABLE = re.compile(r"v\d+")


def entries(promises: Promises) -> dict[str, dict[str, Any]]:
    """Return what the table has of each document, by name: ``file:v1``."""
    found = {}
    for document in documents():
        if entry := entry_of(document.raw, promises.deduplicates):
            found[document.name] = entry
    return found


def archive(found: dict[str, dict[str, Any]]) -> bytes:
    """Return the table; the same for the same entries."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as members:
        for name, entry in sorted(found.items()):
            text = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            members.writestr(member, text)
    return made.getvalue()


def defaults(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """
    Return the version that is meant where none is said, by API and by method.

    It is the one stable version whose operations can be asked for; of an API those count first that have a method.
    """
    stable: defaultdict[str, list[str]] = defaultdict(list)
    starting: defaultdict[str, list[str]] = defaultdict(list)
    for name, entry in sorted(found.items()):
        api, _, version = name.partition(":")
        if _STABLE.fullmatch(version) and has_standard_get(entry):
            stable[api].append(version)
            if entry["methods"]:
                starting[api].append(version)
            for method in entry["methods"]:
                stable[f"{api}.{method}"].append(version)
    stable |= starting
    return {key: versions[0] for key, versions in stable.items() if len(versions) == 1}


def committed_defaults() -> dict[str, str]:
    """Return the defaults as they are committed."""
    lines = DEFAULTS.read_text().splitlines()[1:] if DEFAULTS.exists() else []
    return {key: version for key, _, version in (line.partition(" ") for line in lines)}


def kept_defaults(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the defaults of a new table: what was one stays one, whatever versions there are now."""
    return defaults(found) | committed_defaults()


def main() -> None:
    """Write both files and the page's table, and say what a person has to look at."""
    promises = Promises.reviewed()
    found = entries(promises)
    if promises.unknown:
        sys.exit("class these descriptions in request_ids.json:\n" + "\n".join(sorted(promises.unknown)))
    TABLE.write_bytes(archive(found))
    kept = kept_defaults(found)
    PAGE.write_text(page_with(PAGE.read_text(), table_of(found, kept)))
    lines = "".join(f"{key} {version}\n" for key, version in sorted(kept.items()))
    DEFAULTS.write_text(f"{HEAD}\n{lines}")
    methods = sum(len(entry["methods"]) for entry in found.values())
    print(f"{len(found)} documents, {methods} methods, {TABLE.stat().st_size} bytes, {len(kept)} defaults")


if __name__ == "__main__":
    main()
