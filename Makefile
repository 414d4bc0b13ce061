# `make demo` and `make test` do all the set-up they need; VENV=... shares one environment between checkouts.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "== creating the environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== installing the packages (about 7 GB, two to five minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP) ## create the environment

check: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

fix: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write docs/configuration.md from the models of the configuration
	$(BIN)/python -m data_miner_dagster.config.reference

test: $(STAMP) ## all tests
	$(BIN)/python -m pytest

.PHONY: help install check fix docs test
