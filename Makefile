# Slipway's commands. `make demo` and `make test` set up everything they need; python3 and make must be there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Half of the suite's time is waiting for processes: two files of tests run at once.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile
# The demo keeps all it makes inside the checkout; `make clean` removes it.
DEMO   := SLIPWAY_HOME=$(CURDIR)/.slipway

.PHONY: help setup demo stop prefect prefect-stop docs test check lint types parser-tables bench-engine bench-release calibrate bench-client bench-weights bench-kernels lock clean
.DEFAULT_GOAL := help

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## a virtual environment with all that the lock names

$(READY): requirements.lock pyproject.toml hatch_build.py slipway/measure/receive.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## release the miniature on this machine, end to end
	$(DEMO) $(BIN)/slipway redeploy miniature

stop: $(READY) ## end what the demo serves
	$(DEMO) $(BIN)/slipway stop slipway-miniature

prefect: $(READY) ## a Prefect server of your own: pages, worker, all deployments; prints its address
	$(DEMO) $(BIN)/python -m scripts.prefect_home up

prefect-stop: $(READY) ## end it
	$(DEMO) $(BIN)/python -m scripts.prefect_home down

docs: $(READY) ## the documentation as a site, in .site/; every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: lint types $(READY) ## everything the checks ask for
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not alone"
	$(BIN)/python -m pytest -m alone

check: lint types $(READY) ## lint, types and the fast tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" tests/unit

lint: $(READY) ## style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(READY) ## mypy, strict
	$(BIN)/mypy

lock: ## pin the newest dependencies that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file requirements.lock

parser-tables: $(READY) ## record SGLang's options again, from each release's wheel, and say what differs
	$(BIN)/python -m scripts.parser_tables

bench-engine: $(READY) ## speed of the miniature engine
	$(BIN)/python -m benchmarks.bench_miniature

calibrate: $(READY) ## how often the gates are wrong, by simulated releases; writes docs/calibration.md
	$(BIN)/python -m benchmarks.calibrate --markdown docs/calibration.md

bench-release: $(READY) ## time of a whole release, and its overhead
	$(BIN)/python -m benchmarks.bench_release

bench-client: $(READY) ## how true and cheap the measuring client is, beside its peers
	$(BIN)/python -m benchmarks.bench_client

bench-weights: $(READY) ## speed of verifying weights, beside hf, sha256sum and the bare hash
	$(BIN)/python -m benchmarks.bench_weights

bench-kernels: $(READY) ## speed of packing and unpacking a kernel cache, beside tar; fails where it is too slow
	$(BIN)/python -m benchmarks.bench_kernels

clean: ## stop the demo and remove all that was made
	-@[ ! -x $(BIN)/slipway ] || $(DEMO) $(BIN)/slipway stop slipway-miniature
	rm -rf $(VENV) .slipway .site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
