# Two commands: make demo, make test. Both make their own environment in .venv first.

# The first Python of at least 3.11 on the PATH; or say: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test lint bench clean

help:
	@echo "make demo   train the lecture's MLP on names and make 20 new ones"
	@echo "make test   run the whole test suite"
	@echo "make lint   ruff, mypy, and whether imports go up the layers only"
	@echo "make bench  measure it beside PyTorch, which is installed (some twenty minutes)"

demo: $(VENV)/.installed
	$(BIN)/mm-jax train --preset lecture

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.installed-bench
	$(BIN)/mm-jax bench $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "mm_jax needs Python 3.11 or newer, and none is on the PATH" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml
	$(PIP) -e '.[$*]'
	@touch $@ $(VENV)/.installed
