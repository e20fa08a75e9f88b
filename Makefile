# Everything that a person or CI runs. The virtual environment lives in .venv and is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POOL ?= demo/pool
CATALOG ?= demo/catalog

.PHONY: demo test lint format bench clean

demo: $(VENV)/.demo  ## build a pool of known videos, run the funnel on it, compare verdicts with the truth
	$(BIN)/funnel demo --pool $(POOL) --catalog $(CATALOG)

test: $(VENV)/.dev  ## all tests; those that start Ray run after the parallel ones, in one process
	$(BIN)/python -m pytest -n 2 -m "not cluster"
	$(BIN)/python -m pytest -m cluster

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## figures of docs/benchmarks.md; FUNNEL_MEDIA names the labelled media
	$(BIN)/python benchmarks/labels.py

clean:
	rm -rf $(VENV) demo build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (several GB, mostly PyTorch) ..."
	@$(BIN)/python -m pip install --quiet -e ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (several GB, mostly PyTorch) ..."
	@$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/.demo
