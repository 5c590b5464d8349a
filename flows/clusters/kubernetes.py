"""Workers as pods of Kubernetes, by the Dask operator; the scheduler is a pod as well.

It needs the extra ``meanfield[kubernetes]`` here, and the operator in the cluster. Every pod has
one worker, runs as nobody, and can write to /tmp alone.
"""

import contextlib
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipeline.cluster_settings import Cluster, bytes_of
from pipeline.errors import ClusterError

if TYPE_CHECKING:
    from dask.distributed import Client

SPARE = 300 * 10**6
"""Bytes that a pod gets besides its worker's memory: one that is above for a moment goes on."""
SCHEDULER_MEMORY = "2G"
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787
SCRATCH = "/tmp"  # noqa: S108 - in a pod: all that its containers can write to
ENDING = 600
"""Seconds that a worker which is told to end has for the shard that it works on."""


def check_packages() -> None:
    """See that dask-kubernetes is installed.

    Raises:
        ClusterError: if not.
    """
    if find_spec("dask_kubernetes") is None:
        raise ClusterError("kubernetes needs more packages: pip install 'meanfield[kubernetes]'")


def cluster_resource(settings: Cluster, name: str) -> dict[str, Any]:
    """The DaskCluster that the operator is asked for.

    Args:
        settings: the cluster.
        name: what it is called.
    """
    selector = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    ports = {"tcp-comm": SCHEDULER_PORT, "http-dashboard": DASHBOARD_PORT}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "meanfield"}},
        "spec": {
            "worker": {"replicas": settings.min, "spec": _pod(_worker(settings), ENDING)},
            "scheduler": {
                "spec": _pod(_scheduler(settings, ports), 30),
                "service": {
                    "type": "ClusterIP",
                    "selector": selector,
                    "ports": [
                        {"name": port, "protocol": "TCP", "port": number, "targetPort": port}
                        for port, number in ports.items()
                    ],
                },
            },
        },
    }


def _pod(container: dict[str, Any], grace: int) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            container
            | {
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": SCRATCH}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _worker(settings: Cluster) -> dict[str, Any]:
    memory = bytes_of(settings.memory)
    return {
        "name": "worker",
        "image": settings.image,
        "args": [
            *("dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1"),
            # A nanny would close it within ten seconds of SIGTERM; the operator replaces what dies.
            "--no-nanny",
            *("--memory-limit", f"{memory}B", "--death-timeout", "60"),
            *("--local-directory", SCRATCH, "--no-dashboard"),
            *("--dashboard-address", "127.0.0.1:0"),
        ],
        "env": _variables(settings, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
        "envFrom": [{"secretRef": {"name": secret}} for secret in settings.secrets],
        "resources": _resources("1", str(memory + SPARE)),
    }


def _scheduler(settings: Cluster, ports: dict[str, int]) -> dict[str, Any]:
    probe = {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 5}
    return {
        "name": "scheduler",
        "image": settings.image,
        "args": ["dask", "scheduler", "--host", "0.0.0.0"],  # noqa: S104 - its service forwards
        "env": _variables(
            settings,
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1",
            DASK_DISTRIBUTED__ADAPTIVE__TARGET_DURATION="1s",
        ),
        "ports": [
            {"name": port, "containerPort": number, "protocol": "TCP"}
            for port, number in ports.items()
        ],
        "readinessProbe": probe,
        "livenessProbe": probe | {"initialDelaySeconds": 15, "failureThreshold": 12},
        "resources": _resources("1", SCHEDULER_MEMORY),
    }


def _variables(settings: Cluster, **more: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in (more | settings.environment).items()]


def _resources(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    return {kind: {"cpu": cpu, "memory": memory} for kind in ("requests", "limits")}


@contextlib.contextmanager
def kubernetes_client(settings: Cluster) -> Iterator["Client"]:
    """A client of a fresh cluster of pods, which end with the context.

    Raises:
        ClusterError: if Kubernetes or the Dask operator does not answer, or a pod does not start.
    """
    from dask.distributed import Client
    from dask_kubernetes.operator import KubeCluster

    name = f"meanfield-{uuid.uuid4().hex[:8]}"
    try:
        cluster = KubeCluster(
            custom_cluster_spec=cluster_resource(settings, name),
            namespace=settings.namespace,
            resource_timeout=120,
            quiet=True,
        )
    except Exception as error:  # noqa: BLE001 - kr8s, httpx and the operator raise all kinds
        raise ClusterError(f"--cluster kubernetes: {_explanation(error)}") from None
    with cluster:
        cluster.adapt(minimum=settings.min, maximum=settings.max)
        with Client(cluster, set_as_default=False) as client:
            yield client


def _explanation(error: Exception) -> str:
    """What to do about an error of dask-kubernetes."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if "Custom Resource Definitions" in text or "Dask Operator running" in text:
        return f"the Dask operator is not there: {text}"
    if "kubeconfig" in text.lower() or "credentials" in text.lower():
        return f"there is no access to a Kubernetes cluster: {text}; set KUBECONFIG"
    return f"the cluster cannot be started: {text}"
