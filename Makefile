# The front door: `make demo` shows ossmount at work, `make test` tests it. Both set up everything they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what `make audit` does where the advisory service cannot be asked: fails; CI leaves it empty
STRICT ?= --strict
PYTEST := $(BIN)/python -m pytest -m "not stress"

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-keep test check lint format stress bench audit docs man clean

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## system packages (with apt, when root or sudo) and a virtual environment, also for tests

# What ossmount needs to run, and that with what its tests need.
$(VENV)/.runs $(VENV)/.ready: setup.cfg pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" tools/setup.sh $(@F)

demo: $(VENV)/.runs  ## a real tree in the embedded OSS server, mounted, every byte read back and compared
	@exec $(BIN)/python -m tools.demo

demo-keep: $(VENV)/.runs  ## the same, and leaves it mounted for playing
	@exec $(BIN)/python -m tools.demo --keep

test: setup  ## all tests but the long ones (some minutes on two cores)
	@$(BIN)/python -m compileall -q ossmount
	PYTHONDONTWRITEBYTECODE= $(PYTEST) --reruns 2 -rR --numprocesses 3 --dist worksteal

check: lint  ## format, lint, types, layers and unit tests
	$(PYTEST) tests/unit

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stress: setup  ## the long matrices and soaks
	$(BIN)/python -m pytest -m stress --timeout 3600
	HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest tests/property tests/mount/test_any_sequence.py --timeout 3600

bench: setup  ## ossmount against rclone and against the machine's limits, under 5 minutes
	@$(BIN)/python -m pip install -q -e '.[bench]'
	@exec $(BIN)/python -m benchmarks quick

docs: setup  ## the guides as a site, in site/
	@$(BIN)/python -m mkdocs build --strict --quiet && echo "site/index.html"

man: setup  ## the manual pages, in man/
	@$(BIN)/python -m ossmount.cli.manual man

audit: setup  ## bounds, licences and known weaknesses of what ossmount depends on
	@$(BIN)/python -m tools.audit $(STRICT)

clean:  ## the virtual environment and all caches
	rm -rf $(VENV) man site .demo .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
