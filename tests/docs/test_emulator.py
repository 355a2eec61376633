"""The emulator's page against its source."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from starlette.routing import Mount, Route

from airflow_provider_operations.emulator import EmulatorControls, __main__, faults, script
from airflow_provider_operations.emulator.app import create_app
from airflow_provider_operations.emulator.protocol import Protocol
from airflow_provider_operations.emulator.service import Service
from airflow_provider_operations.emulator.store import Store

from .markdown import DOCS, codes, sections

if TYPE_CHECKING:
    import pytest

SECTIONS = {part.title: part for part in sections((DOCS / "emulator.md").read_text(encoding="utf-8"))}


def keys(title: str) -> list[str]:
    """Return the keys in the first cells of a section's tables."""
    return [code for row in SECTIONS[title].rows for code in codes(row[0])]


def test_scripts() -> None:
    """Each key of a script is there, with the default that a script has."""
    assert sorted(keys("Script an operation")) == sorted(script.FIELDS)
    defaults = script.Script()
    rows = {codes(row[0])[0]: row for row in SECTIONS["Script an operation"].rows if codes(row[0])}
    shown = {key: rows[key][2] for key in ("duration", "cancelDelay", "onCancel", "omitName")}
    assert shown == {
        "duration": f"{defaults.duration:g}",
        "cancelDelay": f"{defaults.cancel_delay:g}",
        "onCancel": f"`{defaults.on_cancel}`",
        "omitName": f"`{str(defaults.omit_name).lower()}`",
    }


def test_faults() -> None:
    """Each key of a fault is there."""
    assert sorted(keys("Let requests fail")) == sorted(faults.FIELDS)


def test_routes() -> None:
    """Each route of the controls is there with its methods, and each method of Python's."""
    with_store: Any = Store(None)
    app = create_app(Protocol(Service(with_store, lambda: 0.0), faults.Faults(lambda: 0.0), {}))
    with_store.close()
    (controls,) = (each for each in app.routes if isinstance(each, Mount) and each.path == "/emulator")
    served = {
        f"/emulator{route.path}": set(route.methods or ()) - {"HEAD"}
        for route in controls.routes
        if isinstance(route, Route)
    }
    rows = [row for row in SECTIONS["Look at it and steer it"].rows if codes(row[0])]
    assert {codes(row[0])[0]: set(codes(row[1])) for row in rows} == served
    named = {name for row in rows for name in re.findall(r"`(\w+)\(", row[2])}
    assert named == {name for name in vars(EmulatorControls) if not name.startswith("_")}


def test_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each argument of the command is there."""
    added: list[str] = []
    add = argparse.ArgumentParser.add_argument

    def note(self: Any, *names: Any, **more: Any) -> Any:
        added.extend(name for name in names if name not in {"-h", "--help"})
        return add(self, *names, **more)

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", note)
    monkeypatch.setattr(__main__, "_serve", lambda *_: 0)
    __main__.main([])
    assert sorted(keys("Start it, and connect to it")) == sorted(added)
