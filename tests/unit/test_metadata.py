"""What Airflow and registries read about this package."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import jsonschema  # type: ignore[import-untyped]  # has none
import pytest
import yaml  # type: ignore[import-untyped]  # has none

import airflow_provider_operations
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


def airflows_schema(name: str) -> dict[str, Any]:
    """Return a schema that the installed Airflow brings along."""
    (folder,) = airflow.__path__
    schema: dict[str, Any] = json.loads((Path(folder) / name).read_text())
    return schema


def test_airflows_own_schema_takes_it() -> None:
    """The metadata has the shape that the installed Airflow checks providers by; else it is ignored."""
    jsonschema.validate(get_provider_info(), airflows_schema("provider_info.schema.json"))


def test_what_is_shown_of_an_integration() -> None:
    """It is what Airflow's own providers are held to (tags from a list, for one), and its files are there."""
    integrations = get_provider_info()["integrations"]
    jsonschema.validate(
        integrations, airflows_schema("provider.yaml.schema.json")["properties"]["integrations"]
    )
    for integration in integrations:
        shown = [*integration["how-to-guide"], integration["logo"]]
        assert [path for path in shown if not path.startswith("/docs/")] == []
        assert [path for path in shown if not (ROOT / path[1:]).is_file()] == []


def test_the_integration_is_named_everywhere_alike() -> None:
    """What belongs to an integration names one that there is."""
    info = get_provider_info()
    names = {integration["integration-name"] for integration in info["integrations"]}
    for kind in ("hooks", "triggers", "sensors", "operators"):
        assert {entry["integration-name"] for entry in info[kind]} <= names


def test_options_that_are_read_are_airflows_own() -> None:
    """There is no ``config`` in the metadata, as no option of ours is read."""
    package = Path(airflow_provider_operations.__file__).parent
    sources = "".join(file.read_text() for file in package.rglob("*.py"))
    read = re.findall(r'conf\.(?:get\w*|has_option)\(\s*"(\w+)", "(\w+)"', sources)
    assert len(read) == len(re.findall(r"\bconf\.", sources)) > 0
    assert {section for section, _ in read} <= {"api", "core", "operators", "state_store"}
    assert "config" not in get_provider_info()


@pytest.mark.slow
def test_airflow_shows_it_in_full(tmp_path: Path) -> None:
    """``airflow providers get --full`` prints all of it, newer Airflows with the documentation's address."""
    command = [sys.executable, "-m", "airflow", "providers", "get", "airflow-provider-operations", "--full"]
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    printed = subprocess.run(
        [*command, "--output", "json"], env=environment, capture_output=True, text=True, check=True
    )
    (shown,) = json.loads(printed.stdout[printed.stdout.index("[{") :])
    expected = get_provider_info()
    description = shown.pop("description")
    assert description == re.sub("[`_<>]", "", expected.pop("description")).rstrip(".")
    urls = distribution("airflow-provider-operations").metadata.get_all("Project-URL") or []
    (address,) = (url.split(", ")[1] for url in urls if url.startswith("Documentation, "))
    assert shown.pop("documentation-url", address).strip() == address
    assert shown == expected


@pytest.mark.parametrize("path", sorted(set(named())))
def test_what_is_named_is_there(path: str) -> None:
    """No path in the metadata leads nowhere."""
    assert found(path)


@pytest.mark.parametrize("group", ["apache_airflow_provider", "airflow.plugins", "pytest11"])
def test_airflow_and_pytest_find_the_entry_points(group: str) -> None:
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
