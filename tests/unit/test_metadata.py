"""What Airflow and registries read about this package."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import jsonschema  # type: ignore[import-untyped]  # has none
import pytest
import yaml  # type: ignore[import-untyped]  # has none

from airflow_provider_operations.provider_info import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
REGISTRY = yaml.safe_load((ROOT / ".astro-registry.yaml").read_text())
GENERIC = ("airflow", "provider", "Airflow", "Provider")


def named() -> Iterator[str]:
    """Everything that the metadata names by its path."""
    info = get_provider_info()
    for kind in ("hooks", "triggers", "sensors", "operators"):
        for entry in info[kind]:
            yield from entry["python-modules"]
    yield from (entry["class-name"] for entry in info["task-decorators"])
    yield from info["extra-links"]
    yield from (entry["plugin-class"] for entry in info["plugins"])
    yield from info["cli"]
    yield from (entry["hook-class-name"] for entry in info["connection-types"])
    for kind in ("hooks", "operators", "sensors", "triggers", "decorators"):
        yield from (entry["module"] for entry in REGISTRY[kind])


def found(path: str) -> Any:
    """Import a module, or what a module holds."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def test_airflows_own_schema_takes_it() -> None:
    """The metadata has the shape that the installed Airflow checks providers by; else it is ignored."""
    (folder,) = airflow.__path__
    schema = json.loads((Path(folder) / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


@pytest.mark.parametrize("path", sorted(set(named())))
def test_what_is_named_is_there(path: str) -> None:
    """No path in the metadata leads nowhere."""
    assert found(path)


@pytest.mark.parametrize("group", ["apache_airflow_provider", "airflow.plugins", "pytest11"])
def test_entry_points(group: str) -> None:
    """Airflow finds provider and plugin, pytest finds the fixtures."""
    (point,) = (
        point for point in distribution("airflow-provider-operations").entry_points if point.group == group
    )
    assert point.load()


def test_the_registry_shows_all_that_is_public() -> None:
    """A new hook, operator, sensor or trigger isn't forgotten; nor called by a name that says nothing."""
    for kind in ("hooks", "operators", "sensors", "triggers"):
        module = importlib.import_module(f"airflow_provider_operations.{kind}")
        shown = {entry["module"].rpartition(".")[2] for entry in REGISTRY[kind]}
        assert shown == set(module.__all__)
    assert not [word for word in GENERIC if word in REGISTRY["display-name"]]
    assert REGISTRY["package-name"] == get_provider_info()["package-name"]
