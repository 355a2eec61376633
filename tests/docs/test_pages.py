"""Links lead somewhere, commands have the arguments that they are shown with."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._connection.settings import ConnectionFields, Settings, read_settings
from airflow_provider_operations.emulator import __main__ as emulator_main

from .markdown import DOCS, PAGES, ROOT, anchors, blocks, headings, links, paragraphs, slug

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

FOR_CONTRIBUTORS = [ROOT / "CONTRIBUTING.md", ROOT / "CODE_OF_CONDUCT.md", ROOT / "SECURITY.md"]
COMMANDS = [
    pytest.param(command.strip(), id=f"{block.name}-{number}")
    for page in [*PAGES, *FOR_CONTRIBUTORS]
    for block in blocks(page)
    if block.language == ""
    for number, command in enumerate(block.text.splitlines())
    if re.match(r"(airflow|python|pip|make|export) ?", command)
]


@pytest.mark.parametrize("page", [*PAGES, *FOR_CONTRIBUTORS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file or heading of ours has one."""
    dead = []
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_is_in_the_index() -> None:
    """Each page of ``docs`` is in one of the site's lists of contents."""
    index = DOCS / "index.md"
    listed = re.findall(r"^([\w-]+)$", index.read_text(encoding="utf-8"), re.MULTILINE)
    pages = {file.stem for kind in ("*.md", "*.rst") for file in DOCS.glob(kind)}
    assert sorted(listed) == sorted(pages - {index.stem})


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), *FOR_CONTRIBUTORS], ids=lambda page: page.name)
def test_a_page_lists_its_sections(page: Path) -> None:
    """Who opens a page sees what is on it."""
    titles = headings(page)
    listed = [link for link in links(page) if link.startswith("#")]
    assert len(titles) < 2 or {f"#{slug(title)}" for title in titles} <= set(listed)


NOT_IMPORTED = {"__init__", "__main__", "cli", "provider_info", "ui"}
"""Airflow, pip and users' shells find these; nobody imports them."""


def test_the_reference_has_what_is_public() -> None:
    """Each module or package at the top that has no underscore is in the reference, and nothing else is."""
    package = ROOT / "airflow_provider_operations"
    rooms = {
        path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    public = {room for room in rooms if not room.startswith("_")} - NOT_IMPORTED
    reference = (DOCS / "reference.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. automodule:: airflow_provider_operations\.([\w.]+)$", reference, re.MULTILINE)
    assert sorted(listed) == sorted(public)


def test_the_reference_has_what_the_pages_import() -> None:
    """Each module of ours that a block imports from is in the reference, and says what is public in it."""
    reference = (DOCS / "reference.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. automodule:: ([\w.]+)$", reference, re.MULTILINE)
    imported = {
        module
        for page in PAGES
        for block in blocks(page)
        for module in re.findall(r"from (airflow_provider_operations[\w.]*) import", block.text)
    }
    assert len(imported) > 5
    assert imported <= set(listed)
    assert [
        module for module in listed if not getattr(importlib.import_module(module), "__all__", None)
    ] == []


def test_the_readme_holds_elsewhere() -> None:
    """It is short, and as a package index shows it, nothing in it depends on where it lies."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith("https://")] == []


@pytest.mark.parametrize("page", [*PAGES, *FOR_CONTRIBUTORS], ids=lambda page: page.name)
def test_paragraphs_are_short(page: Path) -> None:
    """None, nor a point of a list, has more than 90 words."""
    assert [part for part in paragraphs(page) if len(part.split()) > 90] == []


def _parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    try:
        return parser.parse_args(argv)
    except SystemExit as error:
        raise AssertionError(f"{parser.prog} refuses {argv}") from error


@pytest.fixture(scope="module")
def airflow_parser() -> argparse.ArgumentParser:
    """Airflow's own, with the commands of providers."""
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def _checked_command(command: str, airflow_parser: argparse.ArgumentParser) -> None:
    argv = shlex.split(re.sub(r"( > \S+ 2>&1)? &$", "", command).split(" | ", maxsplit=1)[0], comments=True)
    if argv[0] == "airflow":
        parsed = _parse(airflow_parser, argv[1:])
        assert callable(parsed.func)
    elif argv[:3] == ["python", "-m", "airflow_provider_operations.emulator"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(emulator_main, "_serve", lambda *_: 0)
            try:
                assert emulator_main.main(argv[3:]) == 0
            except SystemExit as error:
                raise AssertionError(f"the emulator refuses {argv}") from error
    elif argv[0] == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert argv[1] in targets
    elif argv[0] == "pip":
        project = (ROOT / "pyproject.toml").read_text()
        name, *_ = re.findall(r'^name = "(.+)"$', project, re.MULTILINE)
        (_, install, what) = argv
        asked = re.fullmatch(rf"{name}(?:\[(\w+)\])?", what)
        assert install == "install"
        assert asked
        assert asked[1] is None or re.search(rf"^{asked[1]} = \[", project, re.MULTILINE)
    else:
        assert argv[0] == "export"
        variable, _, value = argv[1].partition("=")
        option = re.fullmatch(r"AIRFLOW__([A-Z]+)__([A-Z_]+)", variable)
        if option:
            from airflow.configuration import conf

            assert conf.has_option(option[1].lower(), option[2].lower())
        else:
            assert re.fullmatch(r"AIRFLOW_CONN_[A-Z0-9_]+", variable)
            json.loads(value)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, airflow_parser: argparse.ArgumentParser) -> None:
    """A command that is shown is one that its parser takes."""
    _checked_command(command, airflow_parser)


@pytest.mark.parametrize(
    "command",
    [
        "airflow operations wait NAME --connection x",
        "airflow operations get",
        "airflow connections add x --conn-kind operations",
        "python -m airflow_provider_operations.emulator --prt 1",
        "make tests",
        'pip install "airflow-provider-operations[googel]"',
        "pip install airflow-providers-operations",
        "export AIRFLOW_CONN_x='{}'",
        "export AIRFLOW__CORE__LOAD_EXAMPLE=False",
        "python -m airflow_provider_operations.emulator --port 8085 > emulator.log",
    ],
)
def test_a_wrong_command_is_noticed(command: str, airflow_parser: argparse.ArgumentParser) -> None:
    """What the test above is worth."""
    with pytest.raises(AssertionError):
        _checked_command(command, airflow_parser)


# --- connections ---------------------------------------------------------------------------------------------


def _settings(fields: dict[str, Any]) -> Settings:
    """Read a connection as the hook does, through Airflow's own class."""
    from airflow.sdk import Connection

    connection = Connection.from_json(json.dumps(fields), conn_id="x")
    assert connection.conn_type == "operations"
    return read_settings(ConnectionFields.of(connection, connection.extra_dejson), {})


def _added() -> dict[str, dict[str, Any]]:
    """Return the connections that the how-to adds on the command line."""
    found = {}
    for block in blocks(DOCS / "howto.md"):
        argv = shlex.split(block.text) if block.text.startswith("airflow connections add ") else []
        if argv:
            given = dict(zip(argv[4::2], argv[5::2], strict=True))
            fields = {key.removeprefix("--conn-"): value for key, value in given.items()}
            fields["conn_type"] = fields.pop("type")
            found[argv[3]] = fields
    return found


def _exported() -> dict[str, dict[str, Any]]:
    found = {}
    for block in blocks(DOCS / "howto.md"):
        if block.text.startswith("export "):
            variable, _, value = shlex.split(block.text)[1].partition("=")
            found[variable.removeprefix("AIRFLOW_CONN_").lower()] = json.loads(value)
    return found


AUTH = {
    "backups": (None, set()),
    "renderer": (None, set()),
    "internal": (None, {"X-Api-Key"}),
    "basic": (None, {"Authorization"}),
    "bearer": (None, {"Authorization"}),
    "google_default_credentials": ("GoogleCredentials", set()),
    "google_key_file": ("GoogleCredentials", set()),
    "google_impersonated": ("GoogleCredentials", set()),
    "google_other": ("GoogleCredentials", set()),
    "oauth2": ("ClientCredentials", set()),
}
"""What each connection sends: whose tokens, which fixed headers."""


@pytest.mark.parametrize("conn_id", AUTH)
def test_both_spellings_of_a_connection_mean_the_same(conn_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Command and variable make the same settings, of the kind that the heading says, and no extra is unknown."""
    added, exported = _settings(_added()[conn_id]), _settings(_exported()[conn_id])
    assert added == exported
    assert added.service.base_url.startswith("https://")
    tokens, headers = AUTH[conn_id]
    assert (type(added.auth.tokens).__name__ if added.auth.tokens else None) == tokens
    assert set(added.auth.headers) == headers
    assert caplog.messages == []


def test_no_connection_is_left_out() -> None:
    """Those compared are all there are."""
    assert _added().keys() == _exported().keys() == AUTH.keys()


def test_details_of_the_connections() -> None:
    """Port, prefix, suffix, scope, chain and key file are where they should be."""
    renderer = _settings(_added()["renderer"])
    assert renderer.service.base_url == "https://operations.example.com:8443"
    assert (renderer.service.path_prefix, renderer.service.cancel_suffix) == ("api/v2", "/cancel")
    tokens: Any = {
        conn_id: _settings(_exported()[conn_id]).auth.tokens for conn_id in AUTH if AUTH[conn_id][0]
    }
    assert tokens["google_key_file"].key_path == "/secrets/spanner.json"
    assert tokens["google_key_file"].scopes == ("https://www.googleapis.com/auth/spanner.admin",)
    assert tokens["google_impersonated"].impersonation_chain == ("shares@my-project.iam.gserviceaccount.com",)
    assert tokens["google_other"].gcp_conn_id == "google_cloud_default"
    assert tokens["oauth2"].token_url == "https://login.example.com/oauth2/token"
    assert tokens["oauth2"].scope == "operations.read operations.write"


def test_the_client_certificate() -> None:
    """The extra for a client certificate is read as it is meant."""
    line = next(line for line in (DOCS / "howto.md").read_text().splitlines() if "client certificate" in line)
    shown = re.search(r"`(\{.*\})`", line)
    assert shown
    fields = {"conn_type": "operations", "host": "x.example.com", "extra": json.loads(shown[1])}
    settings = _settings(fields)
    assert settings.cert == ("/secrets/client.pem", "/secrets/client.key")
    assert settings.verify == "/secrets/ca.pem"


def test_python_is_not_left_unmarked() -> None:
    """A block of Python says so: otherwise nobody would run it."""
    unmarked = [
        block.name
        for page in PAGES
        for block in blocks(page)
        if block.language == ""
        and re.search(r"^(from \w+ import|import \w+|with |def )", block.text, re.MULTILINE)
    ]
    assert unmarked == []
