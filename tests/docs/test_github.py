"""The files that GitHub and pre-commit read have the right shape and call what is there."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has none
import pytest
import yaml  # type: ignore[import-untyped]  # has none

from .markdown import ROOT
from .schemas import schema_of

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
TEMPLATES = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.md"))

pytestmark = pytest.mark.skipif(not GITHUB.exists(), reason="only the repository has these files")


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")


def missing(script: str) -> list[str]:
    """Return what a script calls of ours that isn't there: targets of make, and files."""
    targets = re.findall(r"^([\w-]+):", makefile(), re.MULTILINE)
    called = re.findall(r"(?:^|&& )\s*make ([a-z][\w-]*)", script, re.MULTILINE)
    files = re.findall(r"^\s*bash (\S+)", script, re.MULTILINE)
    return [each for each in called if each not in targets] + [
        each for each in files if not (ROOT / each).is_file()
    ]


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_is_one(file: Any) -> None:
    """It has the shape that GitHub takes; what isn't of that shape is noticed."""
    schema = schema_of("github-workflows")
    workflow = yaml.safe_load(file.read_text())
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the word so, GitHub doesn't
    jsonschema.validate(workflow, schema)
    wrong = copy.deepcopy(workflow)
    next(iter(wrong["jobs"].values()))["step"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_calls_what_is_there(file: Any) -> None:
    """Targets of make and scripts exist."""
    scripts = [step["run"] for step in steps(yaml.safe_load(file.read_text())) if "run" in step]
    assert scripts
    assert [missing(script) for script in scripts] == [[]] * len(scripts)
    assert missing("make tests\nbash .ci/walk") == ["tests", ".ci/walk"]


def test_ci_calls_what_is_there() -> None:
    """Targets of make exist."""
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert missing(script) == []


def test_pre_commit_runs_what_make_runs() -> None:
    """Each hook is a command of ``make lint`` or ``make imports``."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    recipes = makefile()
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert len(entries) == 3
    assert [entry for entry in entries if f"\t{entry}" not in recipes] == []


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_an_issue_template_is_one(file: Any) -> None:
    """GitHub lists a template by its name and what it is about, and shows neither without both."""
    _, front, body = file.read_text().split("---\n", 2)
    assert yaml.safe_load(front).keys() == {"name", "about"}
    assert body.strip()


def test_the_release_is_of_the_tag() -> None:
    """The version that is uploaded is the one that the tag names."""
    checked = [
        step.get("run", "") for step in steps(yaml.safe_load((GITHUB / "workflows/release.yml").read_text()))
    ]
    assert any("GITHUB_REF_NAME" in script and "dist/" in script for script in checked)
