"""The files in ``deploy``, as far as they can be checked without Docker and Kubernetes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # has none
import pytest
import yaml  # type: ignore[import-untyped]  # has none

import tests.executors.clusters
from airflow_provider_operations._connection.settings import ConnectionFields, read_settings
from airflow_provider_operations.emulator import __main__ as emulator_main
from tests.tooling.matrix.plan import AIRFLOWS

from .markdown import DOCS, ROOT, blocks
from .schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES = yaml.safe_load((DEPLOY / "values.yaml").read_text())
SERVICES = COMPOSE["services"]


def variables() -> dict[str, str]:
    """Return the environment of all parts of Airflow, which is one and the same."""
    (environment, *others) = (
        service["environment"]
        for service in SERVICES.values()
        if service.get("command", [""])[0] == "airflow"
    )
    assert [other for other in others if other != environment] == []
    return dict(environment)


def test_the_compose_file_is_one() -> None:
    """It has the shape that Compose takes; what isn't of that shape is noticed."""
    schema = schema_of("compose-spec")
    jsonschema.validate(COMPOSE, schema)
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["triggerer"]["deploy"]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_its_names_are_there() -> None:
    """What one part names of another is in the file: services to wait for, hosts, volumes, the DAGs."""
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", ())}
    assert waited_for <= SERVICES.keys()
    hosts = set(re.findall(r"(?:http://|redis://|@)([a-z-]+)[:/]", " ".join(variables().values())))
    assert hosts == {"api-server", "emulator", "postgres", "redis"} <= SERVICES.keys()
    mounted = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert {source for source, *_ in mounted if "/" not in source} == COMPOSE["volumes"].keys()
    assert all((DEPLOY / source).is_dir() for source, *_ in mounted if "/" in source)


def test_airflow_knows_the_options() -> None:
    """Each variable is an option that Airflow has, or one of Celery's that our tests of Celery run with."""
    from airflow.configuration import conf

    of_our_tests = Path(tests.executors.clusters.__file__).read_text()
    options = [name for name in variables() if name.startswith("AIRFLOW__")]
    assert len(options) > 5
    unknown = [
        name
        for name in options
        for section, key in [name.removeprefix("AIRFLOW__").lower().split("__")]
        if (
            f'"{name}"' not in of_our_tests
            if section == "celery"
            else key not in conf.configuration_description.get(section, {}).get("options", {})
        )
    ]
    assert unknown == []


def test_airflow_knows_the_commands() -> None:
    """Each part is started by a command of Airflow's, but the worker, which needs Celery to be one."""
    from airflow.cli.cli_parser import get_parser

    parser = get_parser()
    commands = [
        service["command"]
        for service in SERVICES.values()
        if service.get("command", [""])[0] == "airflow" and "celery" not in service["command"]
    ]
    assert len(commands) == 6
    for command in commands:
        assert callable(parser.parse_args(command[1:]).func)


def test_the_connection_leads_to_the_emulator(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The emulator takes its arguments, and listens where the connection of all tasks leads to."""
    from airflow.sdk import Connection

    text = variables()["AIRFLOW_CONN_OPERATIONS_DEFAULT"]
    connection = Connection.from_json(text, conn_id="operations_default")
    settings = read_settings(ConnectionFields.of(connection, connection.extra_dejson), {})
    assert caplog.messages == []

    served: list[tuple[Any, ...]] = []

    def serve(*arguments: Any) -> int:
        served.append(arguments)
        return 0

    monkeypatch.setattr(emulator_main, "_serve", serve)
    emulator = SERVICES["emulator"]
    assert emulator["entrypoint"] == ["python", "-m", "airflow_provider_operations.emulator"]
    assert emulator_main.main(emulator["command"]) == 0
    ((host, port, *_),) = served
    assert (host, settings.service.base_url) == ("0.0.0.0", f"http://emulator:{port}")


def ports() -> Iterator[str]:
    """What is open to others than the file's own services."""
    for service in SERVICES.values():
        yield from service.get("ports", ())


def test_nothing_is_open_to_other_machines() -> None:
    """The UI has no login there, and the emulator's journal has tokens."""
    assert "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS" in variables()
    assert {port.rpartition(":")[0].rpartition(":")[0] for port in ports()} == {"127.0.0.1"}


def test_one_version_everywhere() -> None:
    """The image that is built has the Airflow that values and compose file name: the newest that we test."""
    built = set(re.findall(r"airflow(?:==|:)(\d+\.\d+\.\d+)", (DEPLOY / "Dockerfile").read_text()))
    named = {service["image"].rpartition(":")[2] for service in SERVICES.values() if "build" in service}
    named |= {VALUES["airflowVersion"], VALUES["images"]["airflow"]["tag"]}
    assert built == named == {list(AIRFLOWS)[-1]}


def test_the_values() -> None:
    """What is text with YAML in it is YAML, and two triggerers run."""
    (source,) = yaml.safe_load(VALUES["extraEnvFrom"])
    assert source.keys() == {"secretRef"}
    assert VALUES["triggerer"]["replicas"] == SERVICES["triggerer"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", ["Dockerfile", "values.yaml"])
def test_the_page_shows_the_file(name: str) -> None:
    """Block and file are the same, but for the file's first line, which says that we have not run it."""
    first, _, rest = (DEPLOY / name).read_text().partition("\n")
    assert re.search(r"Not (built|run) by us\.$", first)
    assert rest in [block.text for block in blocks(DOCS / "deployment.md")]


def test_the_job_that_sweeps() -> None:
    """The page shows the file; its command is one; image, secrets and keys are those of the values."""
    first, _, rest = (DEPLOY / "reap.yaml").read_text().partition("\n")
    assert re.search(r"Not run by us\.$", first)
    assert rest in [block.text for block in blocks(DOCS / "sweep.md")]
    from airflow.cli.cli_parser import get_parser

    pod = yaml.safe_load(rest)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert callable(get_parser().parse_args(container["args"][1:]).func)
    image = VALUES["images"]["airflow"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"
    assert container["envFrom"] == yaml.safe_load(VALUES["extraEnvFrom"])
    secrets = [variable["valueFrom"]["secretKeyRef"]["name"] for variable in container["env"]]
    assert VALUES["data"]["metadataSecretName"] in secrets
    # Without the chart's airflow.cfg it would know nothing of teams, secrets backends or metrics.
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["subPath"]) == (volume["name"], "airflow.cfg")
    assert mount["mountPath"] == "/opt/airflow/airflow.cfg"
    assert volume["configMap"] == {"name": "airflow-config"}
