# `make demo` and `make test` do all the setup they need, and print what they do.
# VENV=/path/to/env shares one environment between checkouts.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt requirements.lock | cksum | cut -d' ' -f1)
DEMO_ROOT ?= demo_root
# environments of the annotation tools
INTEROP ?= .interop
# a file's tests run on one worker, since they share expensive fixtures, and the longest files come first (conftest.py)
PYTEST_ARGUMENTS ?= --numprocesses auto --dist loadfile --no-loadscope-reorder --timeout 600 -o tmp_path_retention_policy=failed

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# The stamp's name is a checksum of the requirements: changed ones are installed, and a shared environment is recognized.
$(STAMP):
	@test -x $(BIN)/python || { echo "== creating the environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== installing the packages (about 9 GB, two to five minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@if [ "$$($(BIN)/python -c 'import sys, platform; print(sys.version_info[:2] == (3, 11), sys.platform, platform.machine())')" = "True linux x86_64" ]; then \
	  $(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock; \
	else \
	  echo "== the lock is for CPython 3.11 on Linux x86-64: installing the versions of constraints.txt here, without hashes"; \
	fi
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

install: $(STAMP) ## create the environment

demo: $(STAMP) ## run the sample project, with real clips and small real models on a CPU
	@$(BIN)/python -m data_miner_dagster demo --root $(DEMO_ROOT)

up: $(STAMP) ## start the web server and the daemon on the demo's root
	@$(BIN)/python -m data_miner_dagster up --root $(DEMO_ROOT)

check: $(STAMP) ## check lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

fix: $(STAMP) ## format, and fix lint automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Only the browser tests need a program that is not a Python package. It is installed if this user may install it.
chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== installing chromium for the browser tests"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null \
	    || echo "== chromium could not be installed: the browser tests will be skipped"; \
	else \
	  echo "== chromium is not installed and this is no root shell with apt-get: the browser tests will be skipped"; \
	fi

# The files of tests are in memory if there is room. The folder's name is short because it contains sockets, and other
# users may enter it because PostgreSQL runs as a user of its own.
test: $(STAMP) chromium ## run all tests
	@echo "== fetching the lite models and sample clips (about 150 MB, once)"
	@$(BIN)/python -m data_miner_dagster models fetch --profile lite >/dev/null
	@$(BIN)/python -m data_miner_dagster models fetch --samples >/dev/null
	@in_memory=$$($(BIN)/python -m data_miner_dagster_tests.support.memory_folder); \
	if [ -n "$$in_memory" ]; then \
	  export TMPDIR=$$(mktemp -d "$$in_memory/tXXXXXX") && chmod 755 "$$TMPDIR" || exit 1; \
	  trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT TERM; \
	  echo "== the files of the tests are in memory, in $$TMPDIR"; \
	fi; \
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

bench: $(STAMP) ## run the benchmarks: print a table for each, and write JSON to benchmarks/results
	$(BIN)/python -m benchmarks

bench-cluster: $(STAMP) ## process 200 videos on a local Ray cluster, while nodes and the head are killed and a run is cancelled
	$(BIN)/python -m benchmarks.cluster

interop: $(STAMP) ## exchange labels with the annotation tools' own packages (3 GB of environments)
	@$(BIN)/python -m interop --folder $(INTEROP)

docs: $(STAMP) ## write the generated pages, and build the documentation site into site/; warnings are errors
	$(BIN)/python -m documentation
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "== open site/index.html, or preview changes: $(BIN)/python -m mkdocs serve"

vendor: $(STAMP) ## fetch the box-drawing library from npm and verify it (after a change of its version)
	$(BIN)/python -m data_miner_dagster.web.review.vendoring

lock: ## write the locks of the environment and the images, from pyproject.toml and constraints.txt (needs uv)
	$(PYTHON) docker/locks/lock.py

lock-cpu: ## write the lock of torch for the CPU image, from PyTorch's own index (needs uv)
	$(PYTHON) docker/locks/lock.py cpu-torch

audit: ## check the locked packages for known vulnerabilities (needs uv)
	uvx pip-audit==2.10.1 --strict --disable-pip --require-hashes --requirement requirements.lock

licences: $(STAMP) ## write docs/licences.md, which lists every locked package and every model (needs uv)
	uvx --from pip-licenses==5.5.5 pip-licenses --python=$(BIN)/python --from=mixed --with-system --format=json \
	  | $(BIN)/python docker/locks/licences.py

dist: ## build the wheel, a CycloneDX list of its components, and their licences (needs uv)
	rm -rf dist
	uv build --wheel --out-dir dist
	cp docs/licences.md dist/
	uvx --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --output-file dist/sbom.cdx.json docker/locks/cuda.txt

clean: ## delete the root of the demo, the site and caches, but keep the environment and the model cache
	rm -rf $(DEMO_ROOT) site benchmarks/results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.PHONY: bench-cluster help install demo up check fix chromium test bench interop docs vendor lock lock-cpu audit licences dist clean
