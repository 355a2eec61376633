"""Schemas of files that others read, of which a tool for schemas brings copies along."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any


def schema_of(kind: str) -> dict[str, Any]:
    """Return a schema: ``compose-spec`` or ``github-workflows``, for example."""
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None, "check-jsonschema is missing"
    assert found.origin is not None
    file = Path(found.origin).parent / "builtin_schemas" / "vendor" / f"{kind}.json"
    schema: dict[str, Any] = json.loads(file.read_text())
    return schema
