# Everything runs through these targets; `make` alone lists them.
SHELL := /bin/bash
export RLHF_CACHE ?= $(HOME)/.cache/rlhf-operator
UV_VERSION := 0.13.9
UV := $(RLHF_CACHE)/uv-$(UV_VERSION)/bin/uv
PY := .venv/bin/python
INSTALLED := .venv/installed

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(UV):
	@echo "installing uv $(UV_VERSION)"
	@python3 -m venv $(RLHF_CACHE)/uv-$(UV_VERSION)
	@$(RLHF_CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

$(INSTALLED): pyproject.toml requirements.lock | $(UV)
	@test -d .venv || $(UV) venv --quiet --python python3 .venv
	@$(UV) pip install --quiet --python .venv --constraint requirements.lock --editable '.[guard]' --group dev
	@touch $@

install: $(INSTALLED) ## Install the package and the development tools into .venv

lock: $(UV) ## Resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --no-header --all-extras --group dev --group checkpoints \
	  pyproject.toml --output-file requirements.lock

generate: $(INSTALLED) ## Write every generated file anew (CRDs, chart copies, API docs)
	$(PY) -m rlhf_operator.generate

lint: $(INSTALLED) ## Style, types and the arrows between the rooms
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

unit: $(INSTALLED) ## The tests that need no cluster
	$(PY) -m pytest

.PHONY: help install lock generate lint unit
.DEFAULT_GOAL := help
