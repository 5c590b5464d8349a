import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import solvers
from solvers.cache import cache_directory, sources_key

SOURCES = Path(solvers.__file__).parent


def test_a_change_in_any_source_changes_the_directory(tmp_path: Path) -> None:
    copy = tmp_path / "solvers"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    key = sources_key(copy)
    assert key == sources_key(SOURCES)
    for name in ("exp.py", "distributions/beta.py"):
        path = copy / name
        text = path.read_text()
        path.write_text(text + "# changed\n")
        assert sources_key(copy) != key
        path.write_text(text)
    (copy / "new.py").write_text("")
    assert sources_key(copy) != key


def test_environment_decides_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_CACHE_DIR", "MEANFIELD_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    key = sources_key()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "meanfield" / "numba" / key
    monkeypatch.setenv("MEANFIELD_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own" / "numba" / key
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "explicit"))
    assert cache_directory() == tmp_path / "explicit" / key
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert cache_directory() != tmp_path / "explicit" / key


def test_an_unwritable_home_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEANFIELD_CACHE_DIR", str(tmp_path / "file" / "below"))
    path = cache_directory()
    assert path.is_dir()
    assert str(tmp_path / "file") not in str(path)


def test_the_first_kernel_finds_the_cache_in_place() -> None:
    """Whichever module brings Numba with it."""
    script = "import solvers.exp, numba; print(numba.config.CACHE_DIR, solvers.CACHE_DIRECTORY)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    set_to, named = done.stdout.split()
    assert set_to == named == str(cache_directory())


READ_ONLY = """
import os, sys
from solvers import CACHE_DIRECTORY
from solvers.cache import warning
from solvers.absolute_cubic import two_samples
from solvers.wasserstein import PointMasses, w1
w1(PointMasses([0.0]), PointMasses([1.0]))
hits = sum(two_samples.stats.cache_hits.values())
print(CACHE_DIRECTORY, hits, warning(CACHE_DIRECTORY), sep="|")
"""


def without_writing(folders: list[Path], command: list[str]) -> list[str]:
    """A command that finds some folders read-only: by mounts, for permissions do not bind root."""
    mounts = "".join(
        f"mount --bind {shlex.quote(str(f))} {shlex.quote(str(f))} && "
        f"mount -o remount,bind,ro {shlex.quote(str(f))} && "
        for f in folders
    )
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-c", f"{mounts}exec {shlex.join(command)}"]


def test_read_only_home_and_packages(tmp_path: Path) -> None:
    """As in a container with a read-only root: kernels that the image has are used all the same."""
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    packages = Path(numba.__file__).parents[1]
    if subprocess.run(without_writing([home], ["true"]), capture_output=True).returncode:
        pytest.skip("no mounts here")
    environment = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    environment |= {"PYTHONPATH": str(SOURCES.parent), "HOME": str(home), "TMPDIR": str(scratch)}

    def run(command: list[str]) -> list[str]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().split("|")

    command = [sys.executable, "-c", READ_ONLY]
    where, hits, said = run(command)
    assert (Path(where).parent, hits, said) == (home / ".cache/meanfield/numba", "0", "")
    where, hits, said = run(without_writing([home, packages, SOURCES], command))
    assert Path(where).is_relative_to(scratch)
    assert hits == "1"
    assert said.startswith(f"{home}/.cache/meanfield/numba cannot be written: compiled kernels are")
    assert said.endswith("MEANFIELD_CACHE_DIR names a better")


SCRIPT = """
import hashlib
import numpy as np
from solvers.warm import warm
warm()
from solvers.activations import ACTIVATIONS, velocity, slopes
from solvers.absolute_cubic import absolute_difference, sweep_rest, sweep_sample
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Beta, Normal, Samples
from solvers.finite_volumes import advance
from solvers.flow_map import flow_map, push_sorted
from solvers.gragg_bulirsch_stoer import trajectories
from solvers.particles import integrate
from solvers.sampling import sample
from solvers.time_grid import time_grid
from solvers.transport import automatic_domain, solve_transport
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1
from solvers import euler, rk4, ssprk3
digest = hashlib.sha256()
controls = Controls.of("exp(t)-1", "-5*t**2+t")
times, indices = time_grid(1.0, 0.1, (), [0.5, 1.0])
for law in (Normal(0, 1), Beta(2, 5), Samples([0.0, 1.0, 3.0])):
    for sigma in ACTIVATIONS.values():
        x = sample(law, 1001, "iid", (1, 2))
        exact = reference(law, sigma, controls, [0.5, 1.0])
        domain = automatic_domain(law, sigma, controls, times)
        u = solve_transport(law, sigma, controls, domain, 100, times, indices)
        for method in ("euler", "ssprk3", "rk4"):
            out = integrate(x, sigma, controls, times, indices, method)
            digest.update(out.tobytes())
            pushed = flow_map((-1.0, 1.0), sigma, controls, times, indices, method)(x)
            digest.update(pushed.tobytes())
        pde = PiecewiseLinearCdf(u.edges, u.density[1])
        mu = PointMasses(out[1], sorted=True)
        for a, b in ((mu, pde), (mu, exact.measure(1)), (pde, exact.measure(1))):
            digest.update(np.float64(w1(a, b)).tobytes())
kernels = (velocity, slopes, absolute_difference, advance, trajectories, euler.euler, rk4.rk4,
           ssprk3.ssprk3, sweep_sample, sweep_rest, push_sorted)
print(digest.hexdigest(), max(len(k.signatures) for k in kernels))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    cache = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent)}
    environment.pop("NUMBA_CACHE_DIR", None)
    found = []
    for threads in ("1", "3"):
        environment |= {"MEANFIELD_CACHE_DIR": str(cache), "NUMBA_NUM_THREADS": threads}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    return found


def test_cold_and_cached_kernels_give_the_same_bits(runs: list[list[str]]) -> None:
    assert runs[0][0] == runs[1][0]


def test_each_kernel_is_compiled_once(runs: list[list[str]]) -> None:
    assert runs[0][1] == "1"
