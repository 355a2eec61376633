# make test    lint, types, import rules, dependencies, documentation, unit and integration tests: what needs no running Airflow
# make quick   ruff, types and the pure tests: seconds, once their caches are warm
# make docs    the documentation as a site, in docs/_build/html; SERVE=1 serves it on http://127.0.0.1:8000
# make lowest  unit and integration tests with the oldest dependencies that are allowed; SHORT=1 without slow and random ones
# make dist    sdist and wheel, checked
# make matrix  all that on each Airflow from 2.11 to 3.3, and a real one of each; ONLY=2.11.0-3.10, SHORT=1, AT_ONCE=2
# make constraints   a file of versions for each Airflow, from what resolves today
# make google-apis   the table of Google's methods, from the API documents of the installed google-api-python-client
# make upgrade FROM=v0.1.0   an upgrade while tasks are deferred, and back, in a fresh environment of the newest Airflow
# make audit   known vulnerabilities in what is locked, as information
# make fuzz    the random attack of the tests, longer: FUZZ=2000 examples of each; FUZZ_BYTES=262144, the longest bodies
# make e2e     the tests against a real Airflow
# make refusals   refused starts, however a task waits and whatever is done to it: all of what make e2e has some of
# make chaos   300 rounds of real processes that are killed, stopped, cut off and lied to; SHORT=1: some minutes of it
# make sim     schedules of a simulated Airflow and service, in virtual time, on all cores; SHORT=1: at most 4 minutes of it; MINUTES=60
# make bench   what waiting costs, beside a bare loop and other triggers; SHORT=1: 2 minutes of it; ONLY=cpu
# make celery  CeleryExecutor on two workers, and triggerers with queues; needs PostgreSQL and Redis
# make demo    Airflow, an operations server and the example DAGs; ONCE=1 leaves when the runs are over

PYTHON ?= python3
UV ?= uv
AIRFLOW ?= 3.3.2
E2E ?= airflow
JOBS ?= 4
BIN := .venv/bin
FUNCTIONS_EMULATOR := $(if $(shell command -v npm 2>/dev/null),.functions-emulator/ready)

.PHONY: .venv test quick pure lint types imports deps docs unit fuzz lowest e2e refusals functions-emulator chaos sim bench celery matrix constraints google-apis upgrade demo dist audit lock clean

test: lint types imports deps docs unit

# For the loop of work, with -j side by side.
quick: lint types pure

# In one process, as workers would each import Airflow; random input is left to make test.
pure: .venv/ready
	$(BIN)/python -m pytest -q -m "not slow and not hypothesis" tests/unit

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

# What the package imports is declared in pyproject.toml, and what is declared is used.
deps: .venv/ready
	$(BIN)/deptry airflow_provider_operations

# A warning, such as a link that leads nowhere, is an error.
docs: .venv/ready
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@$(if $(filter-out 0,$(SERVE)),$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000)

unit: .venv/ready
	$(BIN)/python -m pytest -n $(JOBS) --durations=10 -m "not airflow and not celery"

fuzz: .venv/ready
	FUZZ=$(or $(FUZZ),2000) $(if $(FUZZ_BYTES),FUZZ_BYTES=$(FUZZ_BYTES)) $(BIN)/python -m pytest -n $(JOBS) \
	  tests/safety/test_random_attack.py tests/safety/test_urls.py

e2e: .venv/ready $(if $(findstring not functions,$(E2E)),,$(FUNCTIONS_EMULATOR))
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10 -m "$(E2E)"

refusals: .venv/ready
	REFUSALS=all $(BIN)/python -m pytest --durations=5 tests/e2e/test_refusal_grid.py

# Google's Cloud Functions emulator, for the end-to-end tests; where npm is missing, they skip what needs it.
FUNCTIONS_LOCK := tests/e2e/functions-emulator
functions-emulator: .functions-emulator/ready

# The lock is made by: npm install --package-lock-only --omit-lockfile-registry-resolved
.functions-emulator/ready: $(FUNCTIONS_LOCK)/package.json $(FUNCTIONS_LOCK)/package-lock.json
	rm -rf $(@D)
	mkdir $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	touch $@

bench: .venv/ready
	@$(BIN)/python -m tests.tooling.bench.run $(if $(filter-out 0,$(SHORT)),--short) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(filter-out 0,$(RECORD)),--record)

chaos: .venv/ready
	@$(BIN)/python -m tests.tooling.chaos.run $(if $(filter-out 0,$(SHORT)),--short,--record) $(if $(SEED),--seed $(SEED)) \
	  $(if $(TRACES),--traces $(TRACES))

# Found schedules are played again by: python -m tests.tooling.sim.run --plan "Plan(...)"
sim: .venv/ready
ifneq ($(filter-out 0,$(MUTANTS)),)
	@$(BIN)/python -m tests.tooling.sim.hunting --record
else ifneq ($(filter-out 0,$(TRACES)),)
	@$(BIN)/python -m tests.tooling.sim.accepting --record
else
	@$(BIN)/python -m tests.tooling.sim.run $(if $(filter-out 0,$(SHORT)),--short) $(if $(SEED),--seed $(SEED)) \
	  $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only "$(ONLY)")
endif

# Celery asks for an older python-dateutil than Airflow has, so it has an environment of its own; the Celery provider
# (3.26) can't be imported with Celery 5.7.
celery: .venv-celery/ready
	.venv-celery/bin/python -m pytest -m celery

.venv-celery/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear .venv-celery
	.venv-celery/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r requirements.lock
	.venv-celery/bin/python -m pip install --quiet --disable-pip-version-check --no-input apache-airflow-providers-celery 'celery<5.7'
	.venv-celery/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -e .
	touch $@

demo: .venv/ready
	@$(BIN)/python -m tests.tooling.harness.demo $(if $(filter-out 0,$(ONCE)),--once)

# The oldest direct dependencies that pyproject.toml allows, and today's of all else; the tests that come near them.
lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest -n $(JOBS) \
	  -m "not airflow and not celery$(if $(filter-out 0,$(SHORT)), and not slow and not hypothesis)" \
	  tests/hooks tests/tasks tests/unit

.venv-lowest/ready: pyproject.toml requirements-lowest.lock
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r requirements-lowest.lock
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -e .
	touch $@

# What would be uploaded, and whether it may be.
dist: .venv/ready
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# The wheel on each Airflow, with the Pythons that are on the machine; needs no other environment than its own.
matrix:
	@$(PYTHON) -m tests.tooling.matrix.run $(if $(filter-out 0,$(SHORT)),--short) $(if $(ONLY),--only $(ONLY)) $(if $(TURN),--turn $(TURN)) \
	  $(if $(AT_ONCE),--at-once $(AT_ONCE))

# Versions for users, one file for each Airflow; make matrix installs one environment of each Airflow by it.
constraints:
	@$(PYTHON) -m tests.tooling.matrix.constraints

google-apis: .venv/ready
	@$(BIN)/python -m tests.tooling.google_apis.generate

# The wheel of a commit or tag, then that of these sources; needs a Python that constraints files are for.
upgrade: .venv/ready
	@$(BIN)/python -m tests.tooling.upgrade.run $(FROM)

# Known vulnerabilities in what is locked: information, as what to do about one takes thought.
audit:
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --no-input pip-audit
	.venv-audit/bin/python -m pip_audit -r requirements.lock --no-deps --disable-pip --progress-spinner off

# One file for all supported Pythons; other AIRFLOW: make lock AIRFLOW=3.3.2
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 --no-emit-index-url \
  --custom-compile-command 'make lock' --all-extras
lock:
	echo 'apache-airflow==$(AIRFLOW)' | $(COMPILE) --upgrade --group dev --group docs pyproject.toml - --output-file requirements.lock
	grep -E '^(apache-airflow|pytest|hypothesis|trustme|psutil|rich|pyjwt|google-api|grpcio)[a-z-]*==' requirements.lock \
	  | grep -v -e ^apache-airflow-providers -e ^apache-airflow-core -e ^apache-airflow-task-sdk \
	  | $(COMPILE) --upgrade --resolution lowest-direct pyproject.toml - --output-file requirements-lowest.lock

clean:
	rm -rf .venv .venv-celery .venv-lowest .venv-audit dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .functions-emulator .matrix
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
