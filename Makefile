# The habits of this project. Needs Python 3.11 or newer with pip, and make; everything else
# goes into .venv from requirements.lock.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup-stamp
DCLINT := $(VENV)/npm/node_modules/.bin/dclint
UV     := UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 $(BIN)/uv

# More threads in linear algebra slow small problems down, and every process here is one of several.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test test-slow test-cluster services lint format bench bench-peers chaos planted faults lock clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv from requirements.lock and install meanfield into it

run: setup ## run the quickstart study
	$(BIN)/meanfield run studies/quickstart.toml

test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-slow: setup ## run the tests that take a minute or more each
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "slow and not cluster"

test-cluster: setup services ## test on real Slurm, Ceph, PostgreSQL and cut networks, as root
	MEANFIELD_NEED_CLUSTER=1 $(BIN)/python -m pytest -m cluster

# What the tests on real services need from Debian, where that can be had.
SERVICES := slurmctld slurmd munged radosgw radosgw-admin ceph-mon ceph-osd ceph initdb ip openssl
services:
	@missing=$$(PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin)"; for program in $(SERVICES); do \
	    command -v $$program >/dev/null || echo $$program; done); \
	  test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends slurm-wlm munge radosgw ceph-mon ceph-osd \
	      ceph-common postgresql iproute2 openssl >/dev/null; } || \
	  { echo "not installed, and not to be had: "$$missing >&2; exit 1; }

lint: setup ## ruff, mypy, and what checks deploy/ offline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml
	$(BIN)/shellcheck deploy/slurm/*
	@$(DCLINT) --version >/dev/null 2>&1 || npm install --silent --no-save --no-audit --no-fund \
	    --prefix $(VENV)/npm dclint@3.1.0 >/dev/null 2>&1 || true
	@if $(DCLINT) --version >/dev/null 2>&1; then \
	  $(DCLINT) --max-warnings 0 --config deploy/.dclintrc.yaml deploy/compose.yaml; \
	else echo "deploy/compose.yaml is not checked: dclint is not to be had"; fi

format: setup ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Of the programs in benchmarks/, those that measure speed: not what they share, not statistics; and
# that of the GPU where there is one.
NO_BENCH := harness limits plain interval_coverage regression_power gpu
HAS_GPU := $(BIN)/python -c 'from solvers.device import check_device; check_device("gpu")'
BENCHES := $(filter-out $(NO_BENCH:%=benchmarks/%.py),$(wildcard benchmarks/*.py))
bench: setup ## measure speed and the limits of this machine
	@gpu=$$($(HAS_GPU) 2>/dev/null && echo benchmarks/gpu.py); \
	for program in benchmarks/limits.py $(BENCHES) $$gpu; do \
	  echo "== $$program"; $(BIN)/python "$$program" $(BENCH) || exit 1; \
	done

# uv puts what both environments have on the disk once.
PEERS ?= benchmarks/peers.txt
bench-peers: setup ## the same with the peers, in .venv-peers
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv --without-pip .venv-peers
	@$(UV) pip install --quiet --python .venv-peers --requirements requirements.lock
	@$(UV) pip install --quiet --python .venv-peers $(addprefix --requirements ,$(wildcard $(PEERS)))
	@$(UV) pip install --quiet --python .venv-peers --no-deps --no-build-isolation --editable .
	@$(MAKE) --no-print-directory bench BIN=.venv-peers/bin

chaos: setup ## kill runs, damage stores, and write docs/reliability.md (a quarter of an hour)
	$(BIN)/python tests/chaos/chaos.py --seed 0 --kills 24 --report docs/reliability.md

planted: setup ## plant faults in the solvers, and write what regression runs catch (an hour)
	$(BIN)/python tests/regression/planted_faults.py --jobs 2 --report docs/regression-faults.md

faults: setup services ## break a real cluster, and write docs/reliability-cluster.md (an hour), as root
	$(BIN)/python tests/cluster/faults.py --seed 0 --faults 50 --report docs/reliability-cluster.md

EXPORT := export --quiet --frozen --no-emit-project --no-header --no-annotate
lock: setup ## resolve anew and rewrite requirements.lock, and those of deploy/
	$(UV) lock --quiet --upgrade
	$(UV) $(EXPORT) -o requirements.lock
	$(UV) $(EXPORT) --no-dev --extra kubernetes -o deploy/requirements.lock
	$(UV) $(EXPORT) --only-group build -o deploy/build.lock
	rm -f uv.lock

clean: ## remove .venv, build output and caches; runs/ stays
	rm -rf $(VENV) .venv-peers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis uv.lock
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs the lock in seconds where pip takes minutes; pip does it where uv cannot.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' 2>/dev/null || { \
	  echo "meanfield needs Python 3.11 or newer; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1 || true). Choose one: make setup PYTHON=python3.12" >&2; \
	  exit 2; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@awk '/^uv==/{on=1} on{print} on&&!/\\$$/{exit}' requirements.lock > $(VENV)/uv.lock.txt
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	      --require-hashes --no-deps -r $(VENV)/uv.lock.txt \
	   && $(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; \
	 then :; else \
	   echo "uv could not install the lock; trying pip (minutes)"; \
	   $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	      --require-hashes --no-deps -r requirements.lock; \
	 fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --no-deps --no-build-isolation --no-index --editable .
	@touch $@
	@echo "meanfield is ready: $(BIN)/meanfield --help"
