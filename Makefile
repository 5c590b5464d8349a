# The habits of this project. Needs Python 3.11 or newer with pip, and make; everything else
# goes into .venv from requirements.lock.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup-stamp
UV     := UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 $(BIN)/uv

# More threads in linear algebra slow small problems down, and every process here is one of several.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test lint format bench chaos lock clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv from requirements.lock and install meanfield into it

run: setup ## run the quickstart study
	$(BIN)/meanfield run studies/quickstart.toml

test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure speed, against peers
	@for program in benchmarks/*.py; do \
	  test -e "$$program" || { echo "benchmarks/ holds no program"; exit 1; }; \
	  echo "== $$program"; $(BIN)/python "$$program" || exit 1; \
	done

chaos: setup ## kill runs, damage stores, and write docs/reliability.md (a quarter of an hour)
	$(BIN)/python tests/chaos/chaos.py --seed 0 --kills 24 --report docs/reliability.md

lock: setup ## resolve anew and rewrite requirements.lock
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --frozen --no-emit-project --no-header --no-annotate -o requirements.lock
	rm -f uv.lock

clean: ## remove .venv, build output and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis uv.lock
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
