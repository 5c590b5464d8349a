"""A worker that is not fit for the work is refused at the start, by name and with the reason."""

from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from flows.clusters.workers import check_store, check_workers
from pipeline.errors import ClusterError
from pipeline.provenance import differences, fingerprint

WORKER = "tcp://10.0.0.7:4000"


class FakeClient:
    """One worker, which answers some questions in its own way.

    Args:
        answers: what it answers, by the name of the function or of the package.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def run(self, function: Callable[..., Any], *arguments: Any, on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        name = arguments[0] if function.__name__ == "find_spec" else function.__name__
        return {WORKER: self._answers[name] if name in self._answers else function(*arguments)}


def refusal(check: Callable[..., None], answers: Mapping[str, Any], *arguments: Any) -> str:
    with pytest.raises(ClusterError) as found:
        check(FakeClient(answers), *arguments)
    assert WORKER in str(found.value)
    return str(found.value)


def test_equal_workers_pass() -> None:
    client: Any = FakeClient({})
    check_workers(client)


def test_other_versions_are_named_one_by_one() -> None:
    parts = dict(part.partition(" ")[::2] for part in fingerprint().split(", "))
    assert {"meanfield", "numba", "numpy", "zarr", "python"} <= set(parts)
    other = fingerprint().replace(f"numba {parts['numba']}", "numba 0.1.0")
    text = refusal(check_workers, {"fingerprint": other})
    assert f"numba 0.1.0 there, {parts['numba']} here" in text
    assert "numpy" not in text


def test_differences_name_what_one_side_lacks() -> None:
    assert differences("a 1, b 2", "a 1, c 3") == "c unknown there, 3 here; b 2 there, unknown here"


def test_a_missing_package_is_named() -> None:
    assert "has no package 'pipeline'" in refusal(check_workers, {"pipeline": None})
    error = ImportError("No module named 'pipeline'")
    assert "cannot import meanfield" in refusal(check_workers, {"fingerprint": error})


def test_a_package_that_another_one_shadows_is_named() -> None:
    elsewhere = ModuleSpec("flows", None, origin="/home/me/flows/__init__.py")
    assert "/home/me" in refusal(check_workers, {"flows": elsewhere})


def test_a_worker_that_does_not_see_the_store_is_named() -> None:
    text = refusal(check_store, {"store_problem": "/scratch/x: no store there"}, None)
    assert "/scratch/x: no store there; give --store a path that all hosts share" in text


def test_a_worker_that_goes_away_meanwhile_is_no_fault() -> None:
    client: Any = FakeClient({"fingerprint": OSError("Timed out trying to connect")})
    check_workers(client)
