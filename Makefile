# Two commands for a newcomer: `make run` does the main job here, `make test` shows that it works.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2
# Compiled tests are kept between runs, whatever the shell says: rewriting their assertions takes seconds a worker.
unexport PYTHONDONTWRITEBYTECODE
NEEDS_PYTHON = test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found."; echo "hint: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
# Where `make install` puts the program: PREFIX/share/minion-hq, with links in PREFIX/bin.
PREFIX ?= $(HOME)/.local

.DEFAULT_GOAL := help
.PHONY: help setup run test check test-heavy faults bench install uninstall clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(VENV)/.ready ## make .venv and install the minion into it

run: $(VENV)/.ready ## run the routine morning-report on this folder's git repository
	@$(BIN)/minion --home .minion init >/dev/null
	@$(BIN)/minion --home .minion run morning-report --engine script

test: $(VENV)/.ready-dev ## the tests: no sandbox, network peer or kill loop needed (`make check` has the house rules)
	@$(BIN)/python -m pytest -n $(WORKERS) --ignore tests/house

check: $(VENV)/.ready-dev ## ruff, mypy --strict, the house rules, the bundled skills' digests
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m tests.house.skill_digests
	@$(BIN)/python -m pytest -n $(WORKERS) tests/house

test-heavy: $(VENV)/.ready-dev ## the tests in a real sandbox, and the short kill loops
	@if command -v npm >/dev/null; then $(MAKE) -s $(VENV)/.ready-node || \
		echo "hint: npm could not install them; the tests of MCP conformance are skipped" >&2; fi
	@if command -v npm >/dev/null; then $(MAKE) -s $(VENV)/.ready-claude-code || \
		echo "hint: npm could not install it; the tests with real Claude Code are skipped" >&2; fi
	@$(BIN)/python -m pytest -n $(WORKERS) -m heavy -rs

faults: $(VENV)/.ready-dev ## the counted fault suites, each with its trials and bound
	@$(BIN)/python -m pytest -n $(WORKERS) -m faults -s

bench: $(VENV)/.ready-dev ## the figures, each beside its peer in the same run
	@$(BIN)/python -m pytest -m bench -s

install: ## put minion and hq into ~/.local/bin for good, without root (PREFIX=FOLDER: elsewhere)
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m minion.setup.installation install --prefix "$(PREFIX)" $(if $(filter file,$(origin PREFIX)),--default-prefix)

uninstall: ## take away what install put there, and the minion's home; asks first (ARGS="--keep-data --yes")
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m minion.setup.installation uninstall --prefix "$(PREFIX)" $(ARGS)

clean: ## remove .venv (your .minion stays)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "hint: your Python lacks venv; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.ready: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once) …" >&2
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "setting up the test tools (once) …" >&2
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# MCP's conformance suites and inspector, with a Node for them. To lock other versions, in tests/conformance:
# npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
$(VENV)/.ready-node: tests/conformance/package.json tests/conformance/package-lock.json | $(VENV)/bin/python
	@echo "setting up the MCP conformance programs (once) …" >&2
	@rm -f $@ && mkdir -p $(VENV)/conformance
	@cp tests/conformance/package.json tests/conformance/package-lock.json $(VENV)/conformance/
	@cd $(VENV)/conformance && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# Real Claude Code, as native programs that need no Node; locked as those above. The tests let it reach loopback alone.
$(VENV)/.ready-claude-code: tests/claude_code/package.json tests/claude_code/package-lock.json | $(VENV)/bin/python
	@echo "setting up Claude Code for the tests (once) …" >&2
	@rm -f $@ && mkdir -p $(VENV)/claude_code
	@cp tests/claude_code/package.json tests/claude_code/package-lock.json $(VENV)/claude_code/
	@cd $(VENV)/claude_code && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
