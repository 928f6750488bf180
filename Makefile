# Needs Python 3.11 to 3.13 and make, nothing else. `make` alone lists what there is.
# The environment is .venv, made from requirements.lock (hashes checked, wheels only); a stamp file inside keeps a
# second `make` from installing again.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Which Python makes the environment; set PYTHON=/path/to/python3.12 to choose.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo "$$candidate"; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# --no-deps: the lock is complete, and older pips refuse `gql[requests]` although gql is pinned with its hashes.
INSTALL := $(PIP) install --no-deps --require-hashes --only-binary :all:
# What `make test` leaves to `make test-all`: seconds to minutes each, or in need of a server.
SLOW := slow or long or ceph or postgres or browser or clickhouse or containers
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*?## "} {printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: demo
demo: install ## real Snowplow files through Dagster into a sandbox, in a minute
	@$(BIN)/snowplow-posthog demo

.PHONY: dev
dev: install ## Dagster's UI on the sandbox
	@$(BIN)/snowplow-posthog dev

.PHONY: test
test: install ## the fast tests, five minutes on two cores
	@$(PYTEST) -n auto --dist loadfile -m "not ($(SLOW))" $(ARGS)

.PHONY: test-slow
test-slow: install ## the other tests; those without their server are skipped by name
	@$(PYTEST) -m "$(SLOW)" $(ARGS)

.PHONY: test-all
test-all: install ## every test
	@$(PYTEST) $(ARGS)

.PHONY: kill-test
KILLS ?= 200
kill-test: extra ## kill runs at random moments and count what was lost or doubled (KILLS=200)
	@$(BIN)/python -m tests.faults.kill_loop --kills $(KILLS) $(ARGS)

.PHONY: fuzz
MINUTES ?= 5
fuzz: install ## odd archive objects through parser, mapper and transform (MINUTES=5; SEED=N OBJECTS=1 repeats one)
	@$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(OBJECTS),--objects $(OBJECTS)) $(ARGS)

.PHONY: soak
MINUTES ?= 10
soak: install ## everything at once against a real dagster dev, and a line of what came of it (MINUTES=10)
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

.PHONY: drill
drill: install ## five faults in a sandbox for whoever is new on call (ARGS=--auto plays the cures)
	@$(BIN)/python -m tests.drill $(ARGS)

.PHONY: lint
lint: install ## ruff (format, rules, complexity) and mypy --strict
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

.PHONY: format
format: install ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: install ## CPU time and memory beside other ways of doing it: a table and build/bench.json
	@$(BIN)/python -m benchmarks.bench $(ARGS)

.PHONY: scale
scale: install ## 5 million generated events through Dagster, and PostHog's stand-in asked for each (ARGS="--events 200000")
	@$(BIN)/snowplow-posthog scale --events 5000000 $(ARGS)

.PHONY: clean
clean: ## remove the environment, the sandboxes with their data, and everything generated
	@for folder in .sandbox .sandbox-scale; do \
		if [ -x $(BIN)/snowplow-posthog ] && [ -d $$folder ]; then $(BIN)/snowplow-posthog down --folder $$folder || true; fi; \
	done
	@rm -rf .venv .sandbox .sandbox-scale build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .tmp_dagster_home_*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: install
install: .venv/.installed ## the environment alone

.PHONY: extra
extra: .venv/.extra ## add what few tests need (ClickHouse's engine: 900 MB)

.venv/.created:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found; name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit(f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another with make PYTHON=/path/to/python3")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.locked: .venv/.created requirements.lock requirements-oracle.lock
	@echo "installing requirements.lock, once (about a minute)"
	@$(INSTALL) -r requirements.lock
	@$(INSTALL) --no-binary snowplow-analytics-sdk --no-build-isolation -r requirements-oracle.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.extra: .venv/.installed requirements-extra.lock
	@echo "installing requirements-extra.lock (900 MB)"
	@$(INSTALL) -r requirements-extra.lock
	@touch $@

# The locks name no host: neither an index nor a file's address. They are compiled in build/ and copied only if they
# changed, so that an unchanged lock does not make the environment old.
LOCKS := requirements.lock requirements-oracle.lock requirements-extra.lock deploy/requirements.lock
COMPILE := ../uv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--no-header --no-annotate --no-emit-index-url $(ARGS)
PROJECT := ../../pyproject.toml
.PHONY: lock
lock: build/uv/bin/uv ## pin what pyproject.toml asks for; keeps existing pins (ARGS=--upgrade renews them)
	@mkdir -p build/locks/deploy
	@for lock in $(LOCKS); do if [ -f $$lock ]; then cp $$lock build/locks/$$lock; fi; done
	@cd build/locks && $(COMPILE) $(PROJECT) --group $(PROJECT):dev -o requirements.lock
	@cd build/locks && $(COMPILE) $(PROJECT) -c requirements.lock -o deploy/requirements.lock
	@cd build/locks && $(COMPILE) --group $(PROJECT):oracle -c requirements.lock -o requirements-oracle.lock
	@cd build/locks && $(COMPILE) --group $(PROJECT):extra -c requirements.lock -o requirements-extra.lock
	@! grep -nE 'https?://|--index-url|--extra-index-url|--find-links' $(addprefix build/locks/,$(LOCKS))
	@for lock in $(LOCKS); do cmp -s build/locks/$$lock $$lock || cp build/locks/$$lock $$lock; done

build/uv/bin/uv:
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip --disable-pip-version-check --quiet install uv==0.13.9
