#!/bin/bash
# Install meanfield for Slurm jobs: an environment on a file system that every node sees, and kernels
# compiled on a compute node, once for each kind of processor. Run it on the login node:
#   deploy/slurm/install.sh FOLDER [options of srun, for the job that compiles]
set -euo pipefail

target=${1:?usage: install.sh FOLDER [options of srun, for the job that compiles]}
shift
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "install.sh: Python 3.11 or newer is needed; give one as PYTHON=…" >&2; exit 2; }
"$python" -m venv "$target"
target=$(cd "$target" && pwd) # jobs and setup.sh name it from other folders
pip=("$target/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes --no-deps -r "$source/deploy/requirements.lock"
"${pip[@]}" install --require-hashes --no-deps --target "$target/build" -r "$source/deploy/build.lock"
PYTHONPATH=$target/build "${pip[@]}" install --no-deps --no-build-isolation --no-index "$source"
rm -rf "$target/build"

cat >"$target/setup.sh" <<SETUP
# Sourced by every job: a study's [cluster] has  setup = ["source $target/setup.sh"]
export PATH=$target/bin:\$PATH
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
# Compiled kernels: shared by all nodes, and kept apart by processor and version.
export MEANFIELD_CACHE_DIR=$target/cache
SETUP

srun --ntasks=1 "$@" bash -c "source '$target/setup.sh' && python -c 'from solvers.warm import warm; warm()'"
echo "installed; in a study: [cluster] setup = [\"source $target/setup.sh\"]"
