# make demo | test | test-core | test-arm | lint | bench | bench-arm | clean. Each makes its own .venv, once; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The OCR networks are data in this wheel. Its code never runs, so neither do its dependencies (a second OpenCV over the headless
# one) nor its limit on Python (below 3.13) matter.
OCR_MODELS := --no-deps --ignore-requires-python rapidocr-onnxruntime==1.4.4
# Real photographs with labels. Data as well: the package's code never runs
PHOTOGRAPHS := --no-deps foolbox==3.3.4
CPUS := cortex-a53 cortex-a72 cortex-a76
BENCHES := conformance hostile random_networks inference footprint entropy loading training training_memory sparse skipping tiny exports environments journeys tracks zoo detectors pretrained_detectors power
LONG_BENCHES := accuracy resume heads # an hour and more; DATA is a folder with CIFAR-10
CORE := tests/runtime tests/host tests/test_cli.py tests/test_project.py
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts

.PHONY: demo test test-core test-arm oracles lint bench bench-long bench-arm kernels packs clean

demo: $(VENV)/.demo
	$(BIN)/alula demo

test: $(VENV)/.test kernels
	$(BIN)/python -m pytest -n auto -rs --ignore=tests/arm

# Without what takes long and hardly depends on Python. For another one: make test-core PYTHON=python3.14 VENV=build/venv-3.14
test-core: $(VENV)/.test kernels
	$(BIN)/python -m pytest -n auto -rs $(CORE)

# What more tests compare with, where it is installed: torch, photographs
oracles: $(VENV)/.test
	$(PIP) -e '.[torch]'
	$(PIP) $(PHOTOGRAPHS)

# On emulated Raspberry Pis, which are built in build/arm on the first call
test-arm: $(VENV)/.test kernels packs
	$(BIN)/python -m tests.arm.boards --extras opencv pytest # a failure here, or the tests would only be skipped
	$(BIN)/python -m pytest -n auto -rs --dist loadgroup tests/arm

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.test kernels
	@mkdir -p build
	set -e; for name in $(BENCHES); do $(BIN)/python -m tests.bench.$$name --json build/bench-$$name.json; done

bench-long: $(VENV)/.test kernels
	@mkdir -p build
	set -e; for name in $(LONG_BENCHES); do $(BIN)/python -m tests.bench.$$name --data $(DATA) --json build/bench-$$name.json; done

# Instructions on the Raspberry Pis; RIVALS=measure counts onnxruntime and ncnn again
RIVALS := stored
bench-arm: $(VENV)/.test packs
	@mkdir -p build
	$(BIN)/python -m tests.arm.bench --rivals $(RIVALS) --json build/bench-arm.json

kernels: $(VENV)/.test
	$(BIN)/alula kernels build

packs: $(VENV)/.test
	for cpu in $(CPUS); do $(BIN)/alula kernels build --cpu $$cpu || exit 1; done

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo 'installing into $(VENV), once'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[compiler,demo]'
	$(PIP) $(OCR_MODELS)
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.demo
	$(PIP) -e '.[test]'
	@touch $@
