# Every target needs only what `prepare` installs; see `make help`.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PEERS := .venv-bench
BIN := $(VENV)/bin
ENVIRONMENT := playbooks/devlab.yml
INVENTORY := inventory/lab.yml
LESS = and not thorough

# Compiled modules are kept: the command line starts in half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-lab test-local testall lint lab bench docs clean prepare

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: lab ## Build the lab, bring the sample environment up on it and show it
	$(BIN)/novafleet -i $(INVENTORY) up $(ENVIRONMENT) --yes
	$(BIN)/novafleet -i $(INVENTORY) status $(ENVIRONMENT)

test: lint ## Run every check and the test suite; it brings the lab up by itself
	$(MAKE) -j2 --no-print-directory test-lab test-local

# What disturbs others waits more than it works: it comes first, beside the local tests.
test-lab: lab
	$(BIN)/pytest -q -p no:cacheprovider --durations=10 -m "lab and not bench and disturbs $(LESS)"
	$(BIN)/pytest -q -p no:cacheprovider --durations=20 -n 3 -m "lab and not bench and not disturbs $(LESS)"

test-local:
	$(BIN)/pytest -q -m "not lab and not bench $(LESS)"

testall: lint ## Every host, pair, moment and seed too: hours
	NOVAFLEET_SLOW=1 NOVAFLEET_CHAOS_ROUNDS=5 $(MAKE) --no-print-directory LESS= test-lab test-local

lint: prepare ## Style, types, layers, shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	git -c safe.directory='*' ls-files -z '*.sh' | xargs -0 -r shellcheck

lab: prepare ## Start the practice fleet: three real KVM hosts on this machine
	$(BIN)/novafleet lab up

bench: lab ## Measure beside peers; results go to docs/benchmarks.md
	[ -x $(PEERS)/bin/python ] || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(PEERS)/bin/pip install --quiet --group bench -c tests/bench/constraints.txt
	sh tests/bench/peers.sh
	$(BIN)/python -m tests.bench

docs: prepare ## Build the documentation into docs/_build
	$(BIN)/pip install --quiet --group docs -c constraints.txt
	$(BIN)/sphinx-build -q -W -b html docs docs/_build

clean: ## Remove every trace: environments, lab, images, engine we started, caches, venv
	[ ! -x $(BIN)/novafleet ] || $(BIN)/novafleet lab down --purge
	rm -rf $(VENV) $(PEERS) docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

prepare: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt novafleet/lab/prerequisites.sh
	sh novafleet/lab/prerequisites.sh
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet -c constraints.txt --group dev -e .
	touch $@
