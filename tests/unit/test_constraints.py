"""The constraints files: versions for users, one file for each Airflow."""

from __future__ import annotations

import re
from importlib.metadata import requires
from typing import TYPE_CHECKING, cast

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.tooling.matrix.plan import AIRFLOWS, CONSTRAINED, CONSTRAINTS, PINS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = sorted(CONSTRAINTS.iterdir())
PYTHON = "{}.{}".format(*CONSTRAINED)
INSTALL = CONSTRAINTS.parent / "docs" / "install.md"


def pinned(file: Path) -> dict[str, str]:
    """Return each package's version; the file has nothing else, such as the address of an index."""
    _, *lines = file.read_text().splitlines()
    found = [re.fullmatch(r"([a-z0-9-]+)==([\w.]+)", line) for line in lines]
    assert None not in found
    return {pin[1]: pin[2] for pin in found if pin}


def asked() -> Iterator[Requirement]:
    """What this package needs on that Python, with each of its extras."""
    environment = cast("dict[str, str]", default_environment())
    environment |= {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    for requirement in map(Requirement, requires("airflow-provider-operations") or ()):
        for extra in ("", "emulator", "google", "oauth2"):
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra}):
                yield requirement


def test_each_airflow_has_one() -> None:
    """The newest of each, as the matrix knows them; and the page about the install has the line for it."""
    newest = {airflow.rpartition(".")[0]: airflow for airflow in AIRFLOWS}.values()
    names = [f"constraints-{airflow}-{PYTHON}.txt" for airflow in newest]
    assert [file.name for file in FILES] == names
    lines = [
        f'pip install "apache-airflow=={airflow}" airflow-provider-operations --constraint {name}'
        for airflow, name in zip(newest, names, strict=True)
    ]
    assert [line for line in lines if line not in INSTALL.read_text().splitlines()] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_what_this_package_needs(file: Path) -> None:
    """Each requirement of ours is in it, in a version that we allow; and Airflow is the one that it is for."""
    versions = pinned(file)
    (_, airflow, _) = file.stem.split("-")
    assert versions["apache-airflow"] == airflow
    needed = [*asked(), *map(Requirement, PINS.get(airflow, ()))]
    assert len({requirement.name for requirement in needed}) > 8
    wrong = [
        f"{requirement} {versions.get(requirement.name)}"
        for requirement in needed
        if not requirement.specifier.contains(versions.get(requirement.name, "0"), prereleases=True)
    ]
    assert wrong == []
    assert "airflow-provider-operations" not in versions
    assert "pytest" not in versions
