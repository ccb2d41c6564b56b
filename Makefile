# cbt-ray: `make study` runs the whole study on this machine, `make test` runs the tests. `make help` lists all targets.
SHELL := /bin/bash
STUDY ?= studies/demo.yaml
PYTHON ?= python3.11
BIN := .venv/bin
export PYTHON
# A shell that sets it would have Python compile every library anew at each start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

##@ Study

.PHONY: study
study: .venv/.local  ## Run the whole study (STUDY=studies/demo.yaml); again: only what is owed
	@$(BIN)/cbt-ray study $(STUDY)

.PHONY: plan
plan: .venv/.local  ## Calls, tokens, cost and useful workers of STUDY, before anything runs
	@$(BIN)/cbt-ray plan $(STUDY)

.PHONY: status
status: .venv/.local  ## What is done, rejected and owed in STUDY
	@$(BIN)/cbt-ray status $(STUDY)

.PHONY: report
report: .venv/.local  ## Write the report of STUDY
	@$(BIN)/cbt-ray report $(STUDY)

##@ Development

.PHONY: test
test: .venv/.dev  ## Format, lint, types and all tests; REQUIRE=browser,... turns skips into failures
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

.PHONY: format
format: .venv/.dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: .venv/.local  ## Compile requirements/*.in into *.txt with hashes
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

.PHONY: clean
clean:  ## Remove the environment; studies in runs/ stay
	rm -rf .venv

##@ Help

.PHONY: help
help:  ## This text
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment is one folder; dev holds all that local holds.
.venv/.local: requirements/local.txt requirements/bootstrap.txt requirements/install.sh requirements/lean.cmake
	@[ .venv/.dev -nt $< ] || requirements/install.sh local
	@touch $@

.venv/.dev: requirements/dev.txt requirements/bootstrap.txt requirements/install.sh requirements/lean.cmake
	@requirements/install.sh dev
	@touch $@ .venv/.local
