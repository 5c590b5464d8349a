"""The resource that the Dask operator is asked for, against its schema and Kubernetes' own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from flows.clusters import check_cluster, kubernetes
from pipeline.cluster_settings import Cluster
from pipeline.errors import ClusterError

SETTINGS = Cluster(
    kind="kubernetes",
    image="registry.example/meanfield:0.1",
    memory="3GB",
    min=2,
    environment={"AWS_REGION": "eu-west-3"},
    secrets=("store-keys",),
)


@pytest.fixture
def resource() -> dict[str, Any]:
    """The DaskCluster of the settings above."""
    return kubernetes.cluster_resource(SETTINGS, "meanfield-1")


def pods(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {kind: resource["spec"][kind]["spec"] for kind in ("worker", "scheduler")}


def test_operator_accepts_it(resource: dict[str, Any]) -> None:
    package = find_spec("dask_kubernetes")
    assert package
    assert package.origin
    folder = Path(package.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((folder / "daskcluster.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate(resource, schema)
    broken = resource | {"spec": {"worker": resource["spec"]["worker"]}}
    with pytest.raises(jsonschema.ValidationError, match="scheduler"):
        jsonschema.validate(broken, schema)


def test_kubernetes_accepts_its_pods_and_its_service(resource: dict[str, Any]) -> None:
    metadata = {"name": "meanfield-1"}
    for spec in pods(resource).values():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        kubernetes_validate.validate(pod, "1.34", strict=True)
    spec = resource["spec"]["scheduler"]["service"]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    kubernetes_validate.validate(service, "1.34", strict=True)


def test_pods_run_as_nobody_and_write_to_tmp_alone(resource: dict[str, Any]) -> None:
    for spec in pods(resource).values():
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {"name": "AWS_REGION", "value": "eu-west-3"} in container["env"]
        assert "MEANFIELD_CACHE_DIR" not in [variable["name"] for variable in container["env"]]


def test_worker_has_its_memory_and_its_secrets(resource: dict[str, Any]) -> None:
    (worker,) = pods(resource)["worker"]["containers"]
    assert worker["args"][worker["args"].index("--memory-limit") + 1] == "3000000000B"
    assert int(worker["resources"]["limits"]["memory"]) > 3 * 10**9
    assert "--no-nanny" in worker["args"]
    assert worker["envFrom"] == [{"secretRef": {"name": "store-keys"}}]
    assert "envFrom" not in pods(resource)["scheduler"]["containers"][0]
    assert resource["spec"]["worker"]["replicas"] == 2


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match=r"pip install 'meanfield\[kubernetes\]'"):
        check_cluster(SETTINGS)


def test_without_a_cluster_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with (
        pytest.raises(ClusterError, match="no access to a Kubernetes cluster") as refusal,
        kubernetes.kubernetes_client(SETTINGS),
    ):
        pass
    assert "\n" not in str(refusal.value)
