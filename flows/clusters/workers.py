"""Whether the workers of a cluster are fit for the work: packages, versions, and the store."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import PACKAGES
from pipeline.compute import RunSpec, store_problem
from pipeline.errors import ClusterError
from pipeline.provenance import differences, fingerprint

if TYPE_CHECKING:
    from dask.distributed import Client


def check_workers(client: "Client") -> None:
    """See that the workers of a cluster have our packages, and compute what the driver would.

    A worker that cannot import the packages does not fail its tasks: it closes, and they wait.
    Workers that come later are checked when they get their first bundle.

    Raises:
        ClusterError: naming the worker and what is wrong with it.
    """
    places: dict[str, set[Path]] = {}
    for name in PACKAGES:
        for worker, spec in _ask(client, find_spec, name).items():
            if spec is None or not spec.origin:
                raise ClusterError(
                    f"the worker {worker} has no package '{name}' of meanfield; install this "
                    "version there"
                )
            places.setdefault(worker, set()).add(Path(spec.origin).parent.parent)
    for worker, folders in places.items():
        if len(folders) > 1:
            listed = ", ".join(sorted(map(str, folders)))
            raise ClusterError(
                f"on the worker {worker} the packages of meanfield come from several folders, so "
                f"one is shadowed: {listed}"
            )
    for worker, found in _ask(client, fingerprint).items():
        if found != fingerprint():
            raise ClusterError(
                f"the worker {worker} differs from the driver, so its bits may too: "
                f"{differences(found)}; give it what the driver has"
            )


def check_store(client: "Client", spec: RunSpec) -> None:
    """See that the workers reach the store of a run.

    Raises:
        ClusterError: naming the worker and what it says.
    """
    for worker, problem in _ask(client, store_problem, spec).items():
        if problem:
            raise ClusterError(
                f"the worker {worker} does not see the driver's store: {problem}; give --store a "
                "path that all hosts share, or s3://…"
            )


def _ask(client: "Client", function: Any, *arguments: Any) -> Mapping[str, Any]:
    """What each worker answers; one that goes away meanwhile is left out.

    Raises:
        ClusterError: if a worker cannot even run the function.
    """
    answers = client.run(function, *arguments, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ImportError):
            raise ClusterError(
                f"the worker {worker} cannot import meanfield ({answer}); install this version "
                "there"
            )
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise ClusterError(f"the worker {worker} fails: {type(answer).__name__}: {answer}")
    return {w: answer for w, answer in answers.items() if not isinstance(answer, Exception)}
