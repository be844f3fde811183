# Everything this project does, one command each; CI calls the same ones. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := bash
export PYTHON ?= python3
# The tests start hundreds of interpreters: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin

.PHONY: help
help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- environments: made once, refreshed when a lock file or pyproject.toml changes ---

.PHONY: setup
setup: .venv/installed .venv-published/installed  ## make .venv (everything tests need) and .venv-published

.venv/installed: requirements.lock pyproject.toml scripts/venv
	scripts/venv .venv requirements.lock --with-project
	@touch $@

# The published client, which tests run as a stranger, must not share our environment.
.venv-published/installed: requirements-published.lock scripts/venv
	scripts/venv .venv-published requirements-published.lock
	@touch $@

# What measures recorded speech compiles; only `make interop` needs it.
.venv-interop/installed: requirements-interop.lock scripts/venv
	scripts/venv .venv-interop requirements-interop.lock
	@touch $@

# Vendors' libraries are heavy and disagree about versions: each has an environment of its own.
INTEGRATIONS := $(patsubst requirements-integrations-%.in,%,$(wildcard requirements-integrations-*.in))

.venv-%/installed: requirements-integrations-%.lock pyproject.toml scripts/venv
	scripts/venv .venv-$* requirements-integrations-$*.lock --with-project
	@touch $@

# --- daily work ---

.PHONY: demo
demo: .venv/installed  ## a whole call on this machine: leaves demo-out/call.wav and call.png
	$(BIN)/telcoflow demo --out demo-out

.PHONY: test
test: setup  ## every test but the long ones, two at a time: many wait for a call to pass
	$(BIN)/python -m pytest -n 2

# Phones of others, installed if apt may; INTEROP_REQUIRED=1: one that is absent is a failure.
.PHONY: interop
interop: setup .venv-interop/installed  ## calls with phones of others: sipp, baresip, linphonec
	scripts/peers
	INTEROP=1 $(BIN)/python -m pytest -m "" --timeout 180 tests/interop

.PHONY: test-long
test-long: setup  ## the long tests, and ten minutes of 50 calls with faults
	$(BIN)/python -m pytest -m long --timeout 900
	$(BIN)/python -m benchmarks.soak

.PHONY: integrations
integrations: $(INTEGRATIONS:%=.venv-%/installed)  ## what meets vendors' libraries: examples and transports, with stand-ins of services
	scripts/integrations $(INTEGRATIONS)

.PHONY: bench
bench: setup  ## every number beside its peer, in a quarter of an hour; needs two quiet cores
	$(BIN)/python -m benchmarks

.PHONY: check
check: setup  ## format, lint, types, import rules, engines to every branch: under a minute
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture
	$(MAKE) --no-print-directory coverage

# The engines' own tests must reach every branch, without the help of slower rings or of luck:
# which branches random examples reach is another matter every time.
.PHONY: coverage
coverage: setup  ## the engines' tests, with branch coverage; fails under 100 %
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not long and not hypothesis" \
	    --cov --cov-report=term \
	    tests/sdk/audio tests/sdk/protocol tests/server/call tests/server/media

.PHONY: format
format: setup  ## lay the code out and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: lock
lock:  ## renew the lock files (needs uv)
	scripts/lock

.PHONY: clean
clean:  ## remove the environments and what tools left behind
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage demo-out dist
