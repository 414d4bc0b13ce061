# `make demo` and `make test` do all the set-up they need, and say what they do.
# VENV=/path/to/env shares one environment between checkouts.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt requirements.lock | cksum | cut -d' ' -f1)
DEMO_ROOT ?= demo_root
# the environments of the annotation tools
INTEROP ?= .interop
# a file's tests stay together, since they share what is costly to start, and the longest files come first (conftest.py)
PYTEST_ARGUMENTS ?= --numprocesses auto --dist loadfile --no-loadscope-reorder --timeout 600

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# The stamp's name carries the requirements, so that changed ones are installed and a shared environment is recognized.
$(STAMP):
	@test -x $(BIN)/python || { echo "== creating the environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== installing the packages (about 7 GB, two to five minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@if [ "$$($(BIN)/python -c 'import sys, platform; print(sys.version_info[:2] == (3, 11), sys.platform, platform.machine())')" = "True linux x86_64" ]; then \
	  $(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock; \
	else \
	  echo "== the lock is for CPython 3.11 on Linux x86-64: here the versions of constraints.txt are installed, without hashes"; \
	fi
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

install: $(STAMP) ## create the environment

demo: $(STAMP) ## run the sample project: real clips, small real models, a CPU
	@$(BIN)/python -m data_miner_dagster demo --root $(DEMO_ROOT)

up: $(STAMP) ## web server and daemon over the demo's root
	@$(BIN)/python -m data_miner_dagster up --root $(DEMO_ROOT)

check: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

fix: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Only the tests in a browser need something that is no Python package. It is installed where that is allowed.
chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== installing chromium for the browser tests"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null \
	    || echo "== chromium could not be installed: the browser tests will be skipped"; \
	else \
	  echo "== chromium is not installed and this is no root shell with apt-get: the browser tests will be skipped"; \
	fi

test: $(STAMP) chromium ## all tests
	@echo "== fetching the lite models and sample clips (about 150 MB, once)"
	@$(BIN)/python -m data_miner_dagster models fetch --profile lite >/dev/null
	@$(BIN)/python -m data_miner_dagster models fetch --samples >/dev/null
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

bench: $(STAMP) ## all benchmarks: a table each, JSON under benchmarks/results
	$(BIN)/python -m benchmarks

bench-cluster: $(STAMP) ## 200 videos on a local Ray cluster: nodes and the head are killed, a run is cancelled
	$(BIN)/python -m benchmarks.cluster

interop: $(STAMP) ## annotation tools' own packages read what we write, and we read what they write (3 GB of environments)
	@$(BIN)/python -m interop --folder $(INTEROP)

docs: $(STAMP) ## write the generated pages, and build the documentation as a site, strictly, into site/
	$(BIN)/python -m documentation
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "== open site/index.html, or see it as it changes: $(BIN)/python -m mkdocs serve"

vendor: $(STAMP) ## fetch the library that draws boxes, from npm, and verify it (for another version of it)
	$(BIN)/python -m data_miner_dagster.web.review.vendoring

lock: ## the locks of the environment and the images, from pyproject.toml and constraints.txt (needs uv)
	$(PYTHON) docker/locks/lock.py

lock-cpu: ## the lock of torch for the CPU image, from PyTorch's own index (needs uv)
	$(PYTHON) docker/locks/lock.py cpu-torch

audit: ## look for known weaknesses of the locked packages (needs uv)
	uvx pip-audit==2.10.1 --strict --disable-pip --require-hashes --requirement requirements.lock

licences: $(STAMP) ## docs/licences.md: of every locked package, and of every model (needs uv)
	uvx --from pip-licenses==5.5.5 pip-licenses --python=$(BIN)/python --from=mixed --with-system --format=json \
	  | $(BIN)/python docker/locks/licences.py

dist: ## the wheel, a list of all that an installation consists of (CycloneDX), and their licences (needs uv)
	rm -rf dist
	uv build --wheel --out-dir dist
	cp docs/licences.md dist/
	uvx --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --output-file dist/sbom.cdx.json docker/locks/cuda.txt

clean: ## remove the demo's results and caches; the environment and the model cache stay
	rm -rf $(DEMO_ROOT) site benchmarks/results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.PHONY: bench-cluster help install demo up check fix chromium test bench interop docs vendor lock lock-cpu audit licences dist clean
