# Everything that is done to this repository has a name here. `make` lists them.
# Each target makes what it needs, from nothing but Python 3.11, and is quick when repeated.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
OTHER_PYTHONS := 3.12 3.13
# The stores that are servers speak to them through drivers: what depends on the Python is tested with those that are not.
EMBEDDED_STORES := tests/contract/test_memory.py tests/contract/test_sqlite.py tests/contract/test_equivalence.py
ENGINE_TESTS := tests/fundamentals tests/runtime $(EMBEDDED_STORES)
# A module, or a class, stays on one worker: what it starts (a server for all of its tests) is started once.
PYTEST_ARGS ?= -n auto --dist loadscope
# The pure half of the library is covered completely, lines and branches; which that is, pyproject.toml says.
COVERAGE_ARGS ?= --cov --cov-report=term --cov-fail-under=100

.PHONY: help demo test test-other-pythons check fix bench bench-peers spec docs constraints test-clients check-clients sim mutants \
	chaos soak order-tracker

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## watch a workflow survive a kill -9 (real data, no services, under a minute)
	@$(BIN)/python -m demo $(DEMO_ARGS)

order-tracker: export STEPFLOW_PUBLIC_KEY ?= sf_pub_only-to-try-the-order-tracker
order-tracker: $(VENV)/.installed ## serve examples/order-tracker, with its page, at http://127.0.0.1:8000
	@scripts/with-node sh -c 'cd ../examples/order-tracker/web && npm ci --no-progress && npm run --silent build'
	@cd examples/order-tracker && ../../$(BIN)/uvicorn server:api

test: $(VENV)/.installed ## run every test, then the engine's tests on each other Python found
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(COVERAGE_ARGS)
	@$(MAKE) --no-print-directory test-clients
	@$(MAKE) --no-print-directory test-other-pythons

test-clients: $(VENV)/.installed ## run the tests of the JavaScript packages, where this machine has Node 20 and npm
	@scripts/with-node npm test --silent

test-other-pythons: ## run the engine's tests on Python 3.12 and 3.13, where this machine has them
	@for version in $(OTHER_PYTHONS); do \
	    if python=$$(scripts/find-python $$version); then \
	        echo "== Python $$version: $(or $(ENGINE_TESTS),no engine tests yet)"; \
	        $(MAKE) --no-print-directory .venvs/$$version/.installed OTHER_PYTHON="$$python" || exit 1; \
	        $(if $(ENGINE_TESTS),.venvs/$$version/bin/python -m pytest $(PYTEST_ARGS) $(ENGINE_TESTS) || exit 1;) \
	    else \
	        echo "== Python $$version: MISSING on this machine, its engine tests were not run"; \
	    fi; \
	done

check: $(VENV)/.installed ## check format, style, types, import directions, spelling and the docs; change nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	@$(MAKE) --no-print-directory check-clients
	@$(MAKE) --no-print-directory docs

check-clients: ## check the JavaScript packages: format, style, types, what would be published, sizes
	@scripts/with-node npm run --silent check

fix: $(VENV)/.installed ## format, and repair what the style checker can repair
	@scripts/with-node npm run --silent fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed ## measure the workloads of benchmarks/ on a store (BENCH_ARGS="--store postgres")
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-peers: $(VENV)/.installed ## measure other engines beside ours on the same server, as ratios
	@$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

sim: $(VENV)/.installed ## simulate whole clusters with faults (SEEDS=300 START=1 STORE=memory, sqlite or redis-model)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),300) --start $(or $(START),1) --store $(or $(STORE),memory)

mutants: $(VENV)/.installed ## plant bugs in the engine, and see the simulator notice every one
	@$(BIN)/python -m tests.simulation.mutants $(MUTANTS_ARGS)

chaos: $(VENV)/.installed ## kill, stop and cut off real workers on a real store (STORE=sqlite, postgres or redis MINUTES=10 SEED=)
	@$(BIN)/python -m tests.chaos --store $(or $(STORE),sqlite) --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.installed ## an hour of steady load: memory, tasks, files and connections stay as they are (STORE=sqlite MINUTES=60)
	@$(BIN)/python -m tests.soak --store $(or $(STORE),sqlite) --minutes $(or $(MINUTES),60)

spec: $(VENV)/.installed ## write spec/ (OpenAPI and golden exchanges) anew
	$(BIN)/python -m scripts.make_spec

docs: $(VENV)/.installed ## build the documentation into docs/_build, warnings are errors
	@if [ -f docs/conf.py ]; then \
	    $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html && echo "docs: docs/_build/html/index.html"; \
	else echo "DOCS SKIPPED: there is no docs/conf.py"; fi

constraints: ## write scripts/constraints.txt anew, with the newest versions that pyproject.toml allows
	@scripts/make-constraints "$$(scripts/find-python)"

$(VENV)/.installed: pyproject.toml demo/requirements.txt scripts/make-venv scripts/constraints.txt
	@python=$$(scripts/find-python) || { echo "no Python 3.11 or newer with venv; set PYTHON=/path/to/it"; exit 1; }; \
	scripts/make-venv $(VENV) "$$python" dev

.venvs/%/.installed: pyproject.toml scripts/make-venv scripts/constraints.txt
	@mkdir -p .venvs
	@scripts/make-venv .venvs/$* "$(OTHER_PYTHON)" test
