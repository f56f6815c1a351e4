# callme: take a number, be called.
#
# Needs make and Python 3.11 or newer; everything else is fetched by the targets that use it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# A lock is whole, so there is nothing to resolve; older pips fail where an extra is asked for.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps --require-hashes

# A folder that does not exist yet is left out.
PACKAGES := $(wildcard server handlers queueing devices commerce payments accounts sql)
SHIPPED := $(PACKAGES) $(wildcard simulators run.py)
COVERED := $(wildcard queueing devices payments commerce accounts sql)

# Two tests at a time: each has its own ports, folders and databases, and mostly waits for a disk.
TESTS := tests
WORKERS ?= 2
ROUNDS ?= 200

.PHONY: help run test coverage check format bench torture clients lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/run.stamp  ## start the demo: the server, the simulators, and pages to look at
	@exec $(BIN)/python run.py demo

# What fails beside all the others is tried once more by itself, and is shown both times: a
# machine that was too busy for a moment is no defect, and a defect fails twice.
test: $(VENV)/dev.stamp  ## all tests, on SQLite and MariaDB
	@sh requirements/system.sh
	@$(BIN)/python -m pytest $(TESTS) -q -n $(WORKERS) --dist worksteal || \
		{ echo "Once more, what has failed:"; \
		$(BIN)/python -m pytest $(TESTS) -q --last-failed --last-failed-no-failures none; }

# Apart from the tests, which take half as long without a tracer; tests/quiet_tracer.py says why it
# is loaded.
coverage: $(VENV)/dev.stamp  ## the branches that the tests must reach, all of them
	@sh requirements/system.sh
	@$(BIN)/python -m pytest -p tests.quiet_tracer $(TESTS) -q -n $(WORKERS) --dist worksteal \
		$(addprefix --cov=,$(COVERED)) --cov-branch --cov-report=term --cov-fail-under=100

# Bandit's minor findings are also ruff's, where each is judged on its own line; here the rest.
check: $(VENV)/dev.stamp  ## format, lint, types, security, architecture
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/bandit --quiet --severity-level medium --configfile pyproject.toml --recursive $(SHIPPED)
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/dev.stamp  ## put the format right, and what else can be put right without thought
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp  ## the benchmarks; tables here, plots in docs/
	@exec $(BIN)/python -m bench

torture: $(VENV)/dev.stamp  ## kill and race it for long (ROUNDS=200)
	@sh requirements/system.sh
	@$(BIN)/python -m pytest $(TESTS) -m torture --rounds $(ROUNDS) --timeout 7200

clients: $(VENV)/run.stamp  ## rebuild web/ from clients/
	@exec $(BIN)/python clients/build.py

lock:  ## pin anew what requirements/*.in ask for (UPGRADE=--upgrade for the newest)
	@command -v uv >/dev/null || { echo "make lock needs uv (pip install uv)"; exit 1; }
	@for name in run dev; do \
		uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header \
			$(UPGRADE) requirements/$$name.in --output-file requirements/$$name.lock || exit 1; \
	done

clean:  ## remove what was made, but not var/, where the demo keeps its data
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made anew when a lock changes, so that nothing is left of the former one.
# The stamp is written last: an interrupted installation is begun again.

$(VENV)/run.stamp: requirements/run.lock
	@sh requirements/venv.sh $(VENV)
	@echo "Installing what the server needs ..."
	@$(PIP) --requirement $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/run.stamp
	@echo "Installing what the tests and checks need ..."
	@$(PIP) --requirement $<
	@touch $@
