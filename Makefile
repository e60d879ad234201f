# Everything a newcomer types. `make` alone prints the list.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread for each worker: on few cores, threads of several workers stand in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test unit campaign test-ros lint structure docs clean

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

test: lint  ## lint, every test that this machine can run, and branch coverage (under 10 minutes)
	$(PYTEST) $(PARALLEL) --cov --cov-report=term:skip-covered

unit: install  ## the quick tests only (a minute on two cores)
	$(PYTEST) $(PARALLEL) -m 'not slow and not alone'

campaign: install  ## fuzzing, random histories and a soak (20 minutes); writes docs/campaign.md
	$(PYTEST) -m campaign --campaign-report docs/campaign.md

# In the sourced ROS environment, not in .venv: also what has no wheel (launch, ros2cli, vision_msgs).
test-ros:  ## the tests of the ROS node in a sourced ROS 2
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
	rm -rf build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
