# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
# Processes of `make test`; tests that share a study share one.
JOBS ?= 2

export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HISTO_STORAGE ?= $(CURDIR)/data
export HISTO_COHORTS ?= $(CURDIR)/data/cohorts
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export DO_NOT_TRACK ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo ui test check faults mutants real truth bench clean format

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/histo-assets: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(BIN)/histo-assets
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(BIN)/histo-assets ## install, write the demo cohort, materialise the whole graph
	$(BIN)/histo-assets demo

ui: $(BIN)/histo-assets ## open the Dagster UI on 127.0.0.1:3000
	$(BIN)/histo-assets ui --port $(PORT)

check: $(VENV)/.dev ## ruff, codespell, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.dev ## every test that needs no real data
	$(BIN)/python -m pytest -m "not real and not faults" -n $(JOBS) --dist loadscope --no-loadscope-reorder --durations=25

faults: $(VENV)/.dev ## kills, interrupts, full disks, lost storage, outages: what each of them costs
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m histo_assets_tests.faults

mutants: $(VENV)/.dev ## what decides a verdict, changed one place at a time: a test must fail each time
	$(BIN)/python -m histo_assets_tests.mutants

real: $(VENV)/.dev ## the whole graph on real tissue and real counts (HISTO_REAL_DATA)
	$(BIN)/python -m pytest -m real -rs -s

truth: $(BIN)/histo-assets ## the larger synthetic cohort, end to end
	$(BIN)/histo-assets materialize --study truth

bench: $(VENV)/.dev ## the benchmarks, side by side with what they are measured against
	$(BIN)/python -m histo_assets_tests.benchmarks.tiling
	$(BIN)/python -m histo_assets_tests.benchmarks.filters
	$(BIN)/python -m histo_assets_tests.benchmarks.expression
	$(BIN)/python -m histo_assets_tests.benchmarks.training
	$(BIN)/python -m histo_assets_tests.benchmarks.embedding
	$(BIN)/python -m histo_assets_tests.benchmarks.staleness

format: $(VENV)/.dev ## let ruff rewrite the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## remove what demo and test made, not the environment
	rm -rf data .dagster .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants build dist *.egg-info
