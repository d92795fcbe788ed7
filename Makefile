# The front door. Each target does its own set-up, on a fresh machine too; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
JOBS ?= auto#        processes that run the tests
ARGS ?=#             further arguments of the command behind a target
export VENV PYTHON

RUN := $(VENV)/bin/python
SPHINX := $(RUN) -m sphinx -q --fail-on-warning --keep-going -j auto

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Watch a news feed survive its ranker: frozen, killed, brought back (4 minutes)
	@.ci/bootstrap demo
	@$(RUN) -m examples.news_feed $(ARGS)

.PHONY: demo-fleet
demo-fleet: ## Watch four processes of it follow through Redis, which is frozen and wiped (3 minutes)
	@.ci/bootstrap demo-fleet
	@$(RUN) -m examples.news_feed --fleet $(ARGS)

.PHONY: test
test: ## Test every rule, in parallel and in random order (4 minutes)
	@.ci/bootstrap test
	@$(RUN) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: ## Run the long tests: faults, fleets of servers, simulated days (10 minutes)
	@.ci/bootstrap test
	@$(RUN) -m pytest -n $(JOBS) --dist worksteal -m "slow and not faults" $(ARGS)

.PHONY: faults
faults: ## Freeze, kill, empty and cut off real redis-servers, and write what was measured
	@.ci/bootstrap test
	@rm -rf .make/faults
	$(RUN) -m pytest -n $(JOBS) -m "faults or not faults" tests/faults $(ARGS)
	@$(RUN) -m tests.faults.figures

.PHONY: simulate
simulate: ## Play simulated fleets on virtual time: `make simulate ARGS="--seeds 10000"`
	@.ci/bootstrap test
	$(RUN) -m tests.simulation $(ARGS)

.PHONY: check
check: ## Lint, check the format and the types, and build the docs with warnings as errors
	@.ci/bootstrap check
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN)
	$(RUN) -m pytest -q -n 0 -m types tests/typing
	$(SPHINX) docs docs/_build/html

.PHONY: format
format: ## Repair what the linter and the formatter can repair
	@.ci/bootstrap check
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

.PHONY: cov
cov: ## Measure the coverage of the tests: 100 % of core, at least 90 % of the rest
	@.ci/bootstrap test
	@$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -n $(JOBS) -m "not faults and not types" $(ARGS)
	@$(RUN) -m coverage combine -q
	$(RUN) -m coverage report --include='src/degrade/core/*' --fail-under=100
	$(RUN) -m coverage report --omit='src/degrade/core/*' --fail-under=90

.PHONY: mutants
mutants: ## Change core in small ways and see the tests notice: at least 90 % of the changes
	@.ci/bootstrap check
	$(RUN) .ci/mutants $(ARGS)

.PHONY: bench
bench: ## Measure the overhead beside its budgets and beside other libraries
	@.ci/bootstrap bench
	@$(RUN) -m benchmarks $(ARGS)

.PHONY: bench-fleet
bench-fleet: ## Measure a fleet over Redis: how fast it follows, what it asks of the server
	@.ci/bootstrap bench
	@$(RUN) -m benchmarks.fleet $(ARGS)

.PHONY: docs
docs: ## Build the documentation to docs/_build/html
	@.ci/bootstrap docs
	$(SPHINX) docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: clean
clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) .make build dist docs/_build mutants run-output .coverage .coverage.*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
