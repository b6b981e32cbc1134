PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RAYS ?= 2.52.1 2.56.0 newest
# What a test run needs besides the package. Kept apart from the sources it was made of.
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development
# An editable install does not build them again by itself.
GUARD := $(wildcard src/secure_ray/network/guard/*.[ch])

.DEFAULT_GOAL := help
.PHONY: help up test unit integration lint types format bench matrix docs clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml $(GUARD) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEVELOPMENT): pyproject.toml $(GUARD) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(INSTALLED)

up: $(INSTALLED) ## install, start the hardened Ray, say how to use it
	@$(BIN)/secure-ray up --head
	@echo
	@echo "secure-ray is $(abspath $(BIN))/secure-ray; to call it by name: . $(BIN)/activate"

test: lint types unit integration ## install, check style and types, run all tests

unit: $(DEVELOPMENT) ## the tests that start no Ray
	$(BIN)/python -m pytest -m "not ray" tests

integration: $(DEVELOPMENT) ## the tests on real Ray clusters
	$(BIN)/python -m pytest -m ray tests

lint: $(DEVELOPMENT) ## style, layers, generated documents
	$(BIN)/ruff check src tests scripts bench
	$(BIN)/ruff format --check src tests scripts bench
	$(BIN)/lint-imports
	$(BIN)/python scripts/policy_table.py --check

types: $(DEVELOPMENT) ## mypy --strict
	$(BIN)/mypy

format: $(DEVELOPMENT) ## put the sources into shape
	$(BIN)/ruff check --fix src tests scripts bench
	$(BIN)/ruff format src tests scripts bench

docs: $(DEVELOPMENT) ## write the generated documents again
	$(BIN)/python scripts/policy_table.py

bench: $(DEVELOPMENT) ## time secure-ray against Ray itself, side by side
	$(BIN)/python -m bench.run --write docs/benchmarks.md

matrix: ## the tests on each supported Ray: make matrix RAYS="2.56.0 newest"
	PYTHON=$(PYTHON) scripts/matrix.sh $(RAYS)

clean: ## remove the virtual environments and caches
	rm -rf $(VENV) .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
