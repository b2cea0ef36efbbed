# Two commands: make demo, make test. Both make their own environment in .venv first.

# The first Python of at least 3.11 on the PATH; or say: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal
SECOND = $(shell for p in python3.12 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.12.*/bin/python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && echo $$p && break; done)
ON_SECOND = $(MAKE) VENV=.venv-3.12 PYTHON="$(SECOND)"
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test test-all second lint bench clean

help:
	@echo "make demo      train the lecture's MLP on names and sample 20 new ones"
	@echo "make test      test every behaviour (a few minutes)"
	@echo "make test-all  also run the slow tests: killed processes, a browser, whole lectures, Python 3.12"
	@echo "make lint      run ruff, mypy and import-linter"
	@echo "make bench     measure the speed beside PyTorch, which it installs (about twenty minutes)"

demo: $(VENV)/.installed
	$(BIN)/mm-jax train --preset lecture

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow" $(ARGS)

# On another Python, with the newest JAX, each quick test with its first parameters is enough.
test-all: $(VENV)/.installed-test
	$(PYTEST) $(ARGS)
	@if [ -n "$(SECOND)" ]; then $(ON_SECOND) test ARGS="--first-parameters $(ARGS)"; \
	else echo "There is no Python 3.12 here: the suite ran on $$($(BIN)/python --version) alone."; fi

# What test-all needs of the other Python.
second:
	@if [ -n "$(SECOND)" ]; then $(ON_SECOND) .venv-3.12/.installed-test; fi

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
