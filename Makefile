# Everything that a person or CI runs. The virtual environment lives in .venv and is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POOL ?= demo/pool
CATALOG ?= demo/catalog
PROOF ?= prove

.PHONY: demo prove reference test lint format bench clean

demo: $(VENV)/.demo  ## build a pool of known videos, run the funnel on it, compare verdicts with the truth
	$(whisper)
	$(BIN)/funnel demo --pool $(POOL) --catalog $(CATALOG)

prove: $(VENV)/.prove  ## train a small model on known videos and hold what it speaks against bars; POOL=folder: your own clips
	$(whisper)
	$(BIN)/funnel prove --to $(PROOF) $(if $(filter-out file,$(origin POOL)),--pool $(POOL))

reference: $(VENV)/.reference  ## the paper's own models (AGPL-3.0 and non-commercial parts), and one OpenCV for all

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
	$(BIN)/python -m benchmarks.labels

clean:
	rm -rf $(VENV) demo prove build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(call install,demo)
	@touch $@

$(VENV)/.prove: pyproject.toml | $(VENV)/bin/python
	$(call install,demo$(comma)training)
	@touch $@ $(VENV)/.demo

$(VENV)/.reference: pyproject.toml | $(VENV)/bin/python
	$(call install,demo$(comma)reference)
	$(one_opencv)
	@touch $@ $(VENV)/.demo

# Tests run the reference backends through their real libraries, on tiny weights.
$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(call install,dev$(comma)reference)
	$(one_opencv)
	@touch $@ $(VENV)/.demo $(VENV)/.prove $(VENV)/.reference

comma := ,

define install
	@echo "Installing into $(VENV) (several GB, mostly PyTorch) ..."
	@$(BIN)/python -m pip install --quiet -e ".[$(1)]"
endef

# What names languages, and hears for the model, does not come with a package: it is fetched once, and done without where it cannot be had.
define whisper
	@$(BIN)/funnel models pull whisper_base || \
		echo "It goes on without: no languages, and a stand-in hears. Later: $(BIN)/funnel models pull whisper_base"
endef

# ultralytics, InsightFace and rtmlib each install a flavour of OpenCV of their own. All write the same cv2 folder, so
# removing some leaves a torn one behind: the one that stays is written anew.
define one_opencv
	@$(BIN)/python -m pip uninstall --quiet -y opencv-python opencv-contrib-python opencv-contrib-python-headless
	@$(BIN)/python -m pip install --quiet --no-deps --force-reinstall opencv-python-headless
	@$(BIN)/python -c "import cv2"
endef
