"""What importing and asking for help load: a command that does little must begin at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import solvers

HEAVY = {
    *("altair", "dask", "distributed", "llvmlite", "numba", "numpy", "pandas", "prefect"),
    *("pydantic", "scipy", "xarray", "zarr"),
}
# SciPy imports its parts where they are first used, as `scipy.special.ndtr`.
LATER = {"altair", "dask", "distributed", "pandas", "prefect", "scipy.optimize", "scipy.stats"}
WAYS = {
    "solvers": ("import solvers", HEAVY),
    "help": ("from flows.cli import _parser; _parser().format_help()", HEAVY),
    "verbs": ("import flows.verbs", LATER | {"scipy.special", "xarray"}),
    "study": ("import pipeline.study", LATER | {"xarray", "zarr"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_little_is_loaded(way: str) -> None:
    code, heavy = WAYS[way]
    script = f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert heavy.isdisjoint(json.loads(done.stdout))
