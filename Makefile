# Underlay: everything a person or a machine runs here. `make` alone lists it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
LAUNCHER := cni/underlay/cni/launcher
QUIETLY  := .ci/quietly

# What the kernel side of tests and demo runs on; each only if it is not installed yet.
PACKAGES := nftables libnftables1 iproute2 iputils-ping conntrack kmod musl-tools containernetworking-plugins \
            openssl busybox-static qemu-system-x86

export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup packages venv binaries launcher crds lint test soak bench bench-cloud demo up down lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## --- what everything else needs -----------------------------------------------------------------------------------

setup: packages venv launcher binaries ## install and build all that the targets below need

packages: ## the Debian packages that are missing (as root)
	@.ci/packages $(PACKAGES)

venv: $(READY) ## the Python environment in .venv, from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is older or missing; name another one: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/packages python3-venv
	@$(QUIETLY) "making $(VENV)" $(PYTHON) -m venv $(VENV)
	@$(QUIETLY) "installing Python libraries from requirements.lock" \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(QUIETLY) "installing Underlay itself, editable" \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

launcher: packages ## the CNI program "underlay" (static C)
	@$(MAKE) --no-print-directory --silent -C $(LAUNCHER)

binaries: venv ## etcd, the Kubernetes programs and cnitool, from Go modules into the cache
	@$(BIN)/python -m controlplane.build

## --- working on it -------------------------------------------------------------------------------------------------

crds: venv ## write charts/underlay/crds from the API types
	@$(BIN)/python -m underlay.core.api.crds charts/underlay/crds

lint: venv ## all static checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## all tests of the CI tier; choose some with TESTS=tests/core
	$(BIN)/pytest -m "not soak" $(or $(TESTS),tests)

soak: setup ## the long counts, and new examples for properties
	$(BIN)/pytest -m soak $(or $(TESTS),tests)
	$(if $(TESTS),,$(BIN)/pytest -m "not (soak or apiserver or netns or kernel)" --hypothesis-profile=explore tests)

bench: setup ## Underlay beside the reference CNI chain; figures in build/bench/
	$(BIN)/python -m bench

bench-cloud: setup ## nodes' first addresses beside EC2's throttling, reaction, a large cluster (15 min); choose with NODES="20 100", PARTS="prefix scale"
	$(BIN)/python -m bench cloud $(addprefix --nodes ,$(NODES)) $(addprefix --part ,$(PARTS))

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --all-extras --group dev \
	  --python-version 3.11 pyproject.toml --output-file requirements.lock

clean: ## remove what was made in this folder; the cache outside stays
	@-$(MAKE) --no-print-directory --silent -C $(LAUNCHER) clean 2>/dev/null
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find core providers cni operator tests -type d -name __pycache__ -exec rm -rf {} +

## --- seeing it -----------------------------------------------------------------------------------------------------

demo: setup ## the whole story in the terminal: two nodes, a simulated cloud, pods that talk
	@$(BIN)/python -m world demo

up: setup ## start the same world and leave it running; see build/up/env
	@$(BIN)/python -m world up

down: venv ## remove the world of `make up`
	@$(BIN)/python -m world down
