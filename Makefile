# make demo | test | lint | bench | clean. Each makes its own .venv, once; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The OCR networks, without the wheel's dependencies: they would lay a second OpenCV over the headless one.
OCR_MODELS := rapidocr-onnxruntime==1.4.4
BENCHES := conformance inference footprint entropy
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts

.PHONY: demo test lint bench kernels clean

demo: $(VENV)/.demo
	$(BIN)/alula demo

test: $(VENV)/.test kernels
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.test kernels
	@mkdir -p build
	set -e; for name in $(BENCHES); do $(BIN)/python -m tests.bench.$$name --json build/bench-$$name.json; done

kernels: $(VENV)/.test
	$(BIN)/alula kernels build

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo 'installing into $(VENV), once'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[compiler,demo]'
	$(PIP) --no-deps '$(OCR_MODELS)'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.demo
	$(PIP) -e '.[test]'
	@touch $@
