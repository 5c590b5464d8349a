"""The page on operations and the files of deploy/ say what is true of the code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker
from prefect.cli.deploy._models import PrefectYamlModel

from flows.cli import _parser
from flows.regression import regression
from flows.studies import study_file
from flows.sweep import sweep

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"
PAGE = (HOME / "docs/operations.md").read_text()
MESSAGES = re.findall(r"^\| `(.+?)` \|", PAGE.split("| message |")[1], re.MULTILINE)
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def code() -> str:
    """All sources as one text, with the strings that are cut over lines put together."""
    files = [*(HOME / "flows").rglob("*.py"), *(HOME / "pipeline").rglob("*.py")]
    text = "\n".join(file.read_text() for file in files)
    return re.sub(r"\"\s*\n\s*f?\"", "", text)


CODE = code()


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_code(message: str) -> None:
    parts = [part.strip(" :;(){}'") for part in message.split("…")]
    for part in parts:
        assert part in CODE, part


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def parsed(words: list[str]) -> Any:
    assert words[0] == "meanfield"
    return _parser().parse_args(words[1:])


def test_commands_of_the_manifests_are_ours() -> None:
    (job,) = documents(DEPLOY / "kubernetes/driver.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    options = parsed(container["command"] + container["args"])
    assert options.verb == "run"
    assert study_file(Path(options.study).stem).is_file()
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    serve = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in services["serve"]["command"]]
    assert parsed(serve).cron == "0 2 * * *"
    assert study_file(parsed(serve).studies[0]).is_file()
    script = (DEPLOY / "slurm/driver.sbatch").read_text()
    (line,) = re.findall(r"^exec (.*)$", script, re.MULTILINE)
    assert parsed(shlex.split(line.replace('"$@"', ""))).cluster == "slurm"


def container_of(name: str) -> dict[str, Any]:
    """The container of a Deployment of Kubernetes."""
    pod = documents(DEPLOY / f"kubernetes/{name}.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert isinstance(container, dict)
    return container


def test_commands_of_dask_are_known_to_it(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    for name, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        pod = container_of(name)
        for words in (pod["command"] + pod["args"], services[name]["command"]):
            options = [word.replace("/tls/", f"{tmp_path}/") for word in words]
            assert options[:2] == ["dask", name]
            found = command.make_context(name, options[2:]).params
            assert found.get("nanny") in (None, False)  # or a shard has ten seconds to end in


def test_secrets_are_nowhere() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text()
            for name in ("PASSWORD", "SECRET_ACCESS_KEY", "ACCESS_KEY_ID"):
                for value in re.findall(rf"{name} *[=:] *(\S+)", text):
                    assert value.startswith(("${", "?", "…")), f"{path}: {name}"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_are_confined(path: Path) -> None:
    for document in documents(path):
        template = document.get("spec", {}).get("template")
        if not template:
            continue
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            assert not container["image"].endswith(":latest")


def test_compose_is_confined() -> None:
    for name, service in documents(DEPLOY / "compose.yaml")[0]["services"].items():
        assert service["read_only"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        stays = name != "bucket"
        assert service["restart"] == ("unless-stopped" if stays else "on-failure:5"), name
        assert bool(service["healthcheck"].get("test")) == stays, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_deployments_give_parameters_of_the_flow() -> None:
    (document,) = documents(DEPLOY / "prefect.yaml")
    assert PrefectYamlModel.model_validate(document).deployments
    flows: dict[str, Any] = {
        "flows.sweep.sweep": sweep, "flows.regression.regression": regression
    }  # fmt: skip
    for deployment in document["deployments"]:
        names = set(flows[deployment["entrypoint"]].parameters.properties)
        assert set(deployment["parameters"]) == names - {"driver"}
        assert study_file(deployment["parameters"]["study"]).is_file()
        assert deployment["work_pool"]["name"] == "meanfield"
