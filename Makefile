# Two commands do all the set-up on a machine with only Python 3.11 and make: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test bench load scale soak check protos wheel clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml
	@echo "installing into $(VENV): a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

run: $(VENV)/.installed ## Start the service, explain a sample photo, show the answer, stop
	$(BIN)/python clients/demo.py

test: check ## Everything that CI checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

bench: $(VENV)/.installed ## Measure, as ratios within one run; writes benchmarks/results/
	$(BIN)/python benchmarks/run.py

load: $(VENV)/.installed ## Rates, latency, CPU, memory under load: 12 minutes; writes benchmarks/
	$(BIN)/python benchmarks/load.py

scale: $(VENV)/.installed ## Workers, cores, batches, photo sizes, methods; writes benchmarks/results/
	$(BIN)/python benchmarks/scale.py

soak: $(VENV)/.installed ## Load, faults and hostile callers: half an hour; 1 if a promise was broken
	$(BIN)/python -m benchmarks.soak.run

check: $(VENV)/.installed ## Formatting, lint, types, the contract and its stubs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/hadolint Dockerfile
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/deploy.py
	$(BIN)/python tools/monitoring.py --check

protos: $(VENV)/.installed ## Generate stubs and openapi.json from protos/
	$(BIN)/python tools/protos.py

wheel: $(VENV)/.installed ## Build dist/showcause-*.whl
	$(BIN)/python -m build --wheel

clean: ## Remove what was built, the environment included
	rm -rf $(VENV) dist build model_store/*.mar
