# The front door: "make demo" shows everything, "make help" lists the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
USABLE := $(BIN)/python -c 'import pip' 2>/dev/null
DATA   ?= .agentpool
BACKEND ?= process
IMAGE  ?=
SECONDS ?= 120
INSTANCES ?= 50
WORKERS ?= auto
SEED   ?= 20261127
RUNS   ?= 1
ONLY   ?= *
THOROUGH ?= $(AGENTPOOL_TEST_THOROUGH)
PAGE   ?= $(if $(filter-out *,$(ONLY)),,docs/reliability.md)
ARGS   ?=

# Without bytecode on disk each of the processes that the tests start, and each worker of theirs, compiles everything anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help install demo run test test-openclaw chaos storm faults fuzz verify audit crds rbac docs sbom bench lock fmt clean
MAKEFLAGS += --no-print-directory

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv and install what requirements.lock pins
	@:

$(STAMP): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON): install Python 3.11 or later, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1), but 3.11 or later is needed: name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(USABLE) || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments: install its venv module, on Debian and Ubuntu with: apt-get install python3-venv" >&2; exit 1; }
	@$(USABLE) || { echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing into $(VENV) (the first time this takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## the whole way once: warm pool, claim, invite URL, all gone again; BACKEND=docker or railway
	@$(BIN)/python -m controller.demo --backend $(BACKEND) $(if $(IMAGE),--image $(IMAGE)) $(ARGS)

run: install ## keep API server and operator up in the foreground, with their data in .agentpool
	@exec $(BIN)/agentpool standalone --data-dir $(DATA) $(ARGS)

test: install ## every test that can run here; says what it skipped and why; THOROUGH=1 throws the dice more often
	@AGENTPOOL_TEST_THOROUGH=$(THOROUGH) $(BIN)/python -m pytest -p tests.tooling.skips -p tests.tooling.order -r fE --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-openclaw: install ## install npm's OpenClaw into a cache folder (OPENCLAW_CACHE) and run the tests that need it
	@$(BIN)/python -m tests.openclaw.installation
	@REQUIRE_OPENCLAW=1 $(BIN)/python -m pytest -p tests.tooling.skips -r fE tests/openclaw $(ARGS)

chaos: install ## kill operator, Docker engine and containers at random for SECONDS=120, and see that nothing is lost
	@AGENTPOOL_TEST_THOROUGH=1 AGENTPOOL_CHAOS_SECONDS=$(SECONDS) $(BIN)/python -m pytest -p tests.tooling.skips -r fE -k standalone tests/e2e_docker/test_chaos.py $(ARGS)

storm: install ## INSTANCES=50 on a twin of Railway that fails in many ways, the operator killed: nothing doubled, nothing lost
	@AGENTPOOL_TEST_THOROUGH=1 AGENTPOOL_STORM_INSTANCES=$(INSTANCES) $(BIN)/python -m pytest -p tests.tooling.skips -r fE -k "standalone and large" -o log_cli_level=INFO tests/e2e_railway/test_storm.py $(ARGS)

faults: install ## RUNS=1 of every fault from SEED=n on, whatever fails; ONLY='killed*'; all of them write docs/reliability.md
	@AGENTPOOL_TEST_THOROUGH=1 $(BIN)/python -m tests.faults --seed $(SEED) --runs $(RUNS) --only "$(ONLY)" $(if $(PAGE),--page $(PAGE)) $(ARGS)

fuzz: install ## atheris for SECONDS=120 on every parser of bytes from outside; ARGS names some of them
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --requirement tests/fuzz/requirements.lock || { echo "make: atheris has no wheel for $$($(BIN)/python --version) on this machine: take Python 3.11 to 3.14 on Linux with x86_64 (make test runs hypothesis on the same targets)" >&2; exit 1; }
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

verify: install ## style, types, layers, advisories, and whether the generated files are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/mypy --strict --explicit-package-bases tests
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m controller.model.crd --check crds
	@$(BIN)/python -m controller.kube.roles --check manifests/operator/role.yaml
	@$(BIN)/python -m tests.tooling.reference --check docs/reference.md
	@$(BIN)/python -m tests.tooling.sbom --check
	@$(MAKE) audit

audit: install ## hold the locked packages against known advisories; says so where none can be had, REQUIRE_AUDIT=1 fails
	@$(BIN)/python -m tests.tooling.audit requirements.lock agent/requirements.lock tests/fuzz/requirements.lock

crds: install ## write crds/ from the models
	@$(BIN)/python -m controller.model.crd crds

rbac: install ## write manifests/operator/role.yaml from what the operator asks of the API server
	@$(BIN)/python -m controller.kube.roles manifests/operator/role.yaml

docs: install ## write docs/reference.md from the resources, commands, settings and metrics
	@$(BIN)/python -m tests.tooling.reference docs/reference.md

sbom: install ## write sbom.cdx.json and agent/sbom.cdx.json, what operator and agent consist of, from the lock files
	@$(BIN)/python -m tests.tooling.sbom

bench: install ## how fast claims are bound, and what that costs
	@$(BIN)/python -m tests.bench $(ARGS)

lock: ## pin the dependencies of pyproject.toml anew, hashes included (needs uv)
	@command -v uv >/dev/null || { echo "make: there is no uv: install it with: python3 -m pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock
	uv pip compile agent/requirements.in --constraints requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file agent/requirements.lock
	uv pip compile tests/fuzz/requirements.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file tests/fuzz/requirements.lock

fmt: install ## format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

clean: ## remove .venv and all caches; .agentpool, with the data of make run, stays
	rm -rf $(VENV) build dist bench-results *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz
	find agent controller tests -name __pycache__ -type d -prune -exec rm -rf {} +
