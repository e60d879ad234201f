# Everything a newcomer types. `make` alone prints the list.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-ros lint structure docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## a virtual environment in .venv with everything but ROS and GPU packages

$(STAMP): setup.py setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'Python 3.10 or newer is needed; name one: make install PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'The venv module is missing; type: sudo apt install python3-venv' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $(VENV)/COLCON_IGNORE
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[all]'
	@touch $(STAMP)

demo: install  ## train a small monitor, then watch it catch anomalies (about 8 minutes)
	$(BIN)/ood-monitor demo

test: lint  ## ruff, mypy and every test that needs neither ROS nor a GPU (under 20 minutes)
	$(BIN)/python -m pytest

test-fast: lint  ## as test, without the slow ones
	$(BIN)/python -m pytest -m 'not slow'

# Runs in the sourced ROS environment, not in .venv: rclpy belongs to the system's Python.
test-ros:  ## the tests that need a sourced ROS 2
	@$(PYTHON) -c 'import rclpy' 2>/dev/null || { \
	  echo 'rclpy is missing; type: source /opt/ros/<distro>/setup.bash' >&2; exit 1; }
	$(PYTHON) -m pytest -m ros

lint: install structure  ## formatting, ruff, mypy and structure only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

structure: install  ## who may import whom, and how large rooms and modules may grow
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python -m pytest -q test/packaging/test_structure.py

docs: install  ## write docs/parameters.md and config/monitor.yaml from the parameter table
	$(BIN)/ood-monitor parameters --markdown > docs/parameters.md
	$(BIN)/ood-monitor parameters --yaml > config/monitor.yaml

clean:  ## remove caches and build output; keeps .venv and runs/
	rm -rf build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
