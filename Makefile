# Nothing here is needed to use storecast: README.md has the same steps as pip commands.
# `make` with a name from `make help`; PYTHON=/path/to/python3 chooses the interpreter.

BIN = .venv/bin
# Numeric libraries with a thread per core slow each other down beside other work.
QUIET_ENV = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
PYTEST = $(QUIET_ENV) $(BIN)/python -m pytest
EVERY_MODEL = seasonal_naive, local_level, ets, theta, lightgbm, xgboost, nbeats, tft, ensemble
# `make test SLOW=1` runs the slow tests as well.
SLOW =
PYTEST_ARGS =

.DEFAULT_GOAL = help
.PHONY: help setup setup-dev demo clean-demo lint test test-slow test-all bench docs

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## make .venv with storecast in it
	@sh tools/setup.sh

setup-dev:  ## the same with the tools of the tests
	@sh tools/setup.sh --dev

# First the report by the fast models, then torch and every model; whoever stops in between has a
# whole project. Once torch is there, the first half has nothing to add.
demo: setup  ## forecast the shops of the demo into ./demo; again to go on
	@test -e demo/storecast.yaml || $(BIN)/storecast init demo --demo iowa
	@if ! $(BIN)/python -c 'import torch, xgboost' 2>/dev/null; then \
		$(BIN)/storecast run --project demo || exit; \
		echo "Next: torch, and every model. The report above stands whatever becomes of it."; \
	fi
	@sh tools/setup.sh --neural
	@$(BIN)/storecast run --project demo --set 'models=[$(EVERY_MODEL)]'

clean-demo:  ## remove ./demo
	rm -rf demo

lint: setup-dev  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## lint and every test but the slow ones
	$(PYTEST) $(if $(SLOW),,-m "not slow") $(PYTEST_ARGS)

test-slow: setup-dev  ## the slow tests alone
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-all: lint  ## lint and every test
	$(PYTEST) $(PYTEST_ARGS)

bench: setup-dev  ## run the benchmarks
	@set -e; for script in benchmarks/[!_]*.py; do \
		test -e "$$script" || { echo "There is no benchmark yet."; break; }; \
		echo "== $$script"; $(QUIET_ENV) $(BIN)/python "$$script"; \
	done

docs: setup-dev  ## write the generated pages anew and check the documentation
	@if test -e tools/make_docs.py; then $(BIN)/python tools/make_docs.py; fi
	@if test -e tests/test_docs.py; then $(PYTEST) tests/test_docs.py; fi
