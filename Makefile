# Needs Python 3.11 to 3.13 with venv, and make; `make demo` and `make test` do the rest.
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
DEV_LOCK := requirements-dev.lock
RUN_LOCK := requirements-tensorflow.lock
BENCH_LOCK := requirements-bench.lock
FUZZ_LOCK := requirements-fuzz.lock
# The resolver that writes the locks; it goes into an environment of its own.
LOCK_TOOL := uv==0.13.8
PYTEST_ARGS ?=
SOAK_ARGS ?=
KILL_ARGS ?=
FUZZ_ARGS ?=
BENCH_ARGS ?=

# Results must not depend on a graphics card, and a log line of TensorFlow is not a result.
export TF_CPP_MIN_LOG_LEVEL := 3
export CUDA_VISIBLE_DEVICES := -1
export KERAS_BACKEND := tensorflow
# Importing TensorFlow from source takes twice as long as from bytecode, in every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test soak fuzz lint docs bench kept lock clean

help:
	@echo "make demo   set up, then run 'tiedio demo'"
	@echo "make test   set up, lint, then the whole test suite (PYTEST_ARGS= adds arguments)"
	@echo "make soak   set up, then 1,000 killed saves (KILL_ARGS= adds arguments), and 20,000 random models, going on"
	@echo "            where it stopped (SOAK_ARGS= adds arguments)"
	@echo "make fuzz   set up, then 100,000 hostile files made by atheris (FUZZ_ARGS= adds arguments)"
	@echo "make lint   set up, then ruff and mypy"
	@echo "make docs   set up, then build the site into build/docs/; every warning is an error"
	@echo "make bench  set up, then measure everything, into docs/benchmarks/ (BENCH_ARGS=--quick only tries it)"
	@echo "make kept   set up, then the table of what tiedio and its peers keep, into README.md and docs/peers.md"
	@echo "make lock   write the lock files anew; UPGRADE=1 takes the newest versions, else those locked stay"
	@echo "make clean  remove what these made"

# What is locked; anew when the lock changes, so that nothing stays behind from an older one.
$(VENV)/.locked: $(DEV_LOCK)
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	  sys.exit(None if ok else "tiedio needs Python 3.11 to 3.13: run make PYTHON=/path/to/python")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --no-compile --require-hashes --only-binary :all: --no-deps -r $(DEV_LOCK)
	@touch $@

# The package itself, from the checkout; its build backend is in the lock.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PIP) install --quiet --no-build-isolation --no-deps --no-index --editable .
	$(PIP) check
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/tiedio demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# From nothing each time: a page that is read from a cache tells of no warning.
docs: $(VENV)/.installed
	rm -rf build/docs
	$(BIN)/sphinx-build -W --keep-going -n -E -q -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

soak: $(VENV)/.installed
	$(BIN)/python tests/soak/kills.py $(KILL_ARGS)
	$(BIN)/python tests/soak/soak.py $(SOAK_ARGS)

# Atheris has wheels for Linux; `FUZZ_ARGS=--plain` runs without it, and so without the guidance of coverage.
$(VENV)/.fuzz: $(VENV)/.installed $(FUZZ_LOCK)
	$(PIP) install --quiet --no-compile --require-hashes --only-binary :all: --no-deps -r $(FUZZ_LOCK)
	@touch $@

fuzz: $(if $(findstring --plain,$(FUZZ_ARGS)),$(VENV)/.installed,$(VENV)/.fuzz)
	$(BIN)/python -W ignore tests/fuzz/fuzz.py $(FUZZ_ARGS)

# Orbax, matplotlib and what they need, beside what is locked for the rest.
$(VENV)/.peers: $(VENV)/.installed $(BENCH_LOCK)
	$(PIP) install --quiet --no-compile --require-hashes --only-binary :all: --no-deps -r $(BENCH_LOCK)
	@touch $@

bench: $(VENV)/.peers
	$(BIN)/python -W ignore -m benchmarks.run $(BENCH_ARGS)

kept: $(VENV)/.peers
	$(BIN)/python -W ignore -m benchmarks.kept --write

# One lock serves all Pythons: versions are chosen for 3.11, which the later ones take too, and markers say the rest.
# The locks hold names, versions and hashes; no address, so that every index that carries these files will do.
# What is locked stays at its version as long as pyproject.toml allows it, unless UPGRADE=1 says otherwise.
lock:
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip --disable-pip-version-check install --quiet '$(LOCK_TOOL)'; \
	compile=("$$folder/venv/bin/uv" pip compile $(if $(UPGRADE),--upgrade) --quiet --no-config --universal \
	  --python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' pyproject.toml); \
	"$${compile[@]}" --extra dev --output-file $(DEV_LOCK); \
	"$${compile[@]}" --extra bench --constraint $(DEV_LOCK) --output-file $(BENCH_LOCK); \
	"$${compile[@]}" --extra fuzz --constraint $(DEV_LOCK) --output-file $(FUZZ_LOCK); \
	"$${compile[@]}" --extra tensorflow --constraint $(DEV_LOCK) --output-file $(RUN_LOCK)

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
