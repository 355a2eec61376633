# make test    lint, types, import rules, unit and integration tests: all that needs no running Airflow
# make e2e     the tests against a real Airflow
# make chaos   300 rounds of real processes that are killed, stopped and lied to; SHORT=1: 8 minutes of it
# make demo    Airflow, an operations server and the example DAGs; ONCE=1 leaves when the runs are over

PYTHON ?= python3
UV ?= uv
AIRFLOW ?= 3.3.2
E2E ?= airflow
BIN := .venv/bin

.PHONY: .venv test lint types imports unit e2e chaos demo lock clean

test: lint types imports unit

.venv: .venv/ready

# The lock is complete, so pip needs not resolve anything.
.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -e .
	$(BIN)/python -m pip check --disable-pip-version-check
	touch $@

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

imports: .venv/ready
	$(BIN)/lint-imports

unit: .venv/ready
	$(BIN)/python -m pytest -m "not airflow"

e2e: .venv/ready
	$(BIN)/python -m pytest -m "$(E2E)"

chaos: .venv/ready
	@$(BIN)/python -m tests.chaos.run $(if $(filter-out 0,$(SHORT)),--short,--record) $(if $(SEED),--seed $(SEED))

demo: .venv/ready
	@$(BIN)/python -m tests.harness.demo $(if $(filter-out 0,$(ONCE)),--once)

# One file for all supported Pythons; other AIRFLOW: make lock AIRFLOW=3.3.2
lock:
	echo 'apache-airflow==$(AIRFLOW)' | $(UV) pip compile --quiet --universal --python-version 3.10 \
	  --upgrade --no-emit-index-url --custom-compile-command 'make lock' \
	  --extra emulator --group dev pyproject.toml - --output-file requirements.lock

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
