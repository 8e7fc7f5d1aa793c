# What a developer does here. Everything is installed below this folder, from the lock file; nothing outside it is touched.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
# Certificates as this machine trusts them, not as uv bundles them.
export UV_SYSTEM_CERTS := 1
UV := .tools/bin/uv
RUN := .venv/bin/

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mooring needs Python 3.11 or newer")'
	@$(PYTHON) -m venv .tools
	@.tools/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: $(UV) pyproject.toml uv.lock
	@$(UV) sync -q --locked --python $(PYTHON) --extra demo --extra alembic --all-groups
	@touch $@

.PHONY: install
install: .venv/.synced ## install Mooring and what its tests need into .venv

.PHONY: demo
demo: install ## show the failure that Mooring ends, and the fix, on an embedded PostgreSQL
	@$(RUN)mooring demo

.PHONY: test
test: check ## lint, types, and all tests that need nothing but Python
	@$(RUN)pytest

.PHONY: check
check: install ## lint and types
	@$(RUN)ruff check
	@$(RUN)ruff format --check
	@$(RUN)mypy

.PHONY: lock
lock: $(UV) ## write the lock file anew
	@$(UV) lock --upgrade

.PHONY: test-peers
test-peers: install ## the five tools beside Mooring (.ci/peers .cache/bin installs it)
	@$(RUN)pytest tests/peers

.PHONY: test-chart
test-chart: install ## the chart, rendered
	@$(RUN)pytest tests/chart

.PHONY: test-image
test-image: install ## the image, built and run
	@$(RUN)pytest tests/image

.PHONY: test-kind
test-kind: install ## the chart and the image on a kind cluster of three nodes
	@$(RUN)pytest tests/kind

.PHONY: test-faults
test-faults: install ## hundreds of faults at random points, on PostgreSQL 15 and 18 (.ci/peers installs the former)
	@$(RUN)pytest tests/faults

.PHONY: bench
bench: install ## what a run costs beside the peers that are installed (.ci/peers .cache/bin), as tables
	@$(RUN)python -m tests.bench

.PHONY: docs
docs: install ## write what README.md and the chart have from the code
	@$(RUN)python .ci/readme.py
	@$(RUN)python tests/chart/values.py
