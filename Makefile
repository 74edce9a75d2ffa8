# Everything runs through these targets; `make` alone lists them.
SHELL := /bin/bash
export RLHF_CACHE ?= $(HOME)/.cache/rlhf-operator
UV_VERSION := 0.13.9
UV := $(RLHF_CACHE)/uv-$(UV_VERSION)/bin/uv
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
PLUGIN := dist/kubectl-rlhf
PARTS := build/plugin

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(UV):
	@echo "installing uv $(UV_VERSION)"
	@python3 -m venv $(RLHF_CACHE)/uv-$(UV_VERSION)
	@$(RLHF_CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

$(INSTALLED): pyproject.toml requirements.lock | $(UV)
	@test -d $(VENV) || $(UV) venv --quiet --seed --python python3 $(VENV)
	@$(UV) pip install --quiet --python $(VENV) --constraint requirements.lock --editable '.[cli,guard]' --group dev --group bench
	@touch $@

install: $(INSTALLED) ## Install the package and the development tools into .venv

lock: $(UV) ## Resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --no-header --all-extras --group dev --group bench --group checkpoints \
	  pyproject.toml --output-file requirements.lock

generate: $(INSTALLED) ## Write every generated file anew (CRDs, chart copies, API docs)
	$(PY) -m rlhf_operator.generate
	$(PY) -m tests.guard.corpus.report

plugin: $(INSTALLED) ## Make the kubectl plugin as one file, dist/kubectl-rlhf
	@rm -rf $(PARTS) && mkdir -p $(dir $(PLUGIN))
	@$(UV) pip install --quiet --python $(VENV) --target $(PARTS) --constraint requirements.lock --group plugin
	@$(UV) pip install --quiet --python $(VENV) --target $(PARTS) --no-deps .
	@$(VENV)/bin/shiv --site-packages $(PARTS) --console-script kubectl-rlhf --compressed --reproducible \
	  --python '/usr/bin/env python3' --output-file $(PLUGIN)
	@ls -l $(PLUGIN)

lint: $(INSTALLED) ## Style, types and the arrows between the rooms
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

unit: $(INSTALLED) debian ## The tests that need no cluster
	$(PY) -m pytest tests --ignore tests/charts -n 2 --dist loadgroup

fuzz: $(INSTALLED) ## Fuzz the guard for many examples, at random (FUZZ_EXAMPLES=500)
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-500} $(PY) -m pytest tests/guard/fuzz --timeout 1800

checks: lint unit

debian: $(INSTALLED) # What the tests and the cluster need of Debian; one apt at a time
	@$(PY) -m e2e.cluster install-packages

cluster-up: $(INSTALLED) ## Bring a real Kubernetes up on this machine and print KUBECONFIG=…
	@$(PY) -m e2e.cluster up

cluster-down: $(INSTALLED) ## Stop that cluster; what was built stays cached
	@$(PY) -m e2e.cluster down

images: $(INSTALLED) ## Build the images and load them into the cluster
	@test "$$CLUSTER" = current || $(PY) -m e2e.cluster build-images

prepare: cluster-up
	@$(MAKE) --no-print-directory images

demo: $(INSTALLED) debian ## The main job: ship a good version, then a bad one, with live traffic
	@$(MAKE) --no-print-directory prepare
	@$(PY) -m e2e.demo

stories: prepare ## The chart's tests, which need helm, and the end-to-end stories on the real cluster
	$(PY) -m pytest tests/charts e2e -n 4 --dist loadgroup --timeout 600

test: $(INSTALLED) debian ## Every check and every test, the end-to-end ones last
	@$(MAKE) --no-print-directory -j2 checks prepare
	@$(MAKE) --no-print-directory stories

bench: $(INSTALLED) ## Measure decisions, the guard, and rollbacks and idle cost at scale, into .state/
	@$(MAKE) --no-print-directory bench-decisions
	@$(MAKE) --no-print-directory bench-guard
	@$(MAKE) --no-print-directory cluster-up
	$(PY) -m e2e.bench $(BENCH_ARGS)

bench-decisions: $(INSTALLED) ## Simulate how often decisions are wrong, into .state/decisions.json
	$(PY) -m e2e.bench.decisions $(DECISIONS_ARGS)

bench-guard: $(INSTALLED) ## Measure the guard beside LiteLLM and Envoy, into .state/guard.json
	$(PY) -m e2e.bench.guard $(GUARD_ARGS)

.PHONY: help install lock generate plugin lint unit fuzz checks debian cluster-up cluster-down images prepare demo stories test bench bench-decisions bench-guard
.DEFAULT_GOAL := help
