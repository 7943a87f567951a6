# `make run` starts the chat page; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

# In parallel, each test file in one process, so that its servers are started once.
PYTEST := $(BIN)/python -m pytest -n logical --dist loadfile

.PHONY: help run check test test-slow contract contract-some screenshot icons page-report bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: .venv/app  ## install what is missing and start the chat page; options in ARGS="--port 7000"
	@exec $(BIN)/python app.py $(ARGS)

check: .venv/dev  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/dev  ## the quick tests
	$(PYTEST) -m "not (slow or browser or real_stack or contract)" $(PYTEST_ARGS)

test-slow: .venv/dev  ## the tests with a browser, the local stack, app processes and deployments
	$(PYTEST) -m "(slow or browser or real_stack) and not screenshots" $(PYTEST_ARGS)

contract: .venv/dev  ## the tests on real servers of every generation, which are installed once (3 GB)
	$(BIN)/python -m pytest -m contract $(PYTEST_ARGS)

contract-some: .venv/dev  ## the same with the newest and the oldest Llama Stack, and one plain engine (1 GB)
	$(BIN)/python -m pytest -m contract -k "1.5.0 or 0.2.12 or 0.1.9 or llama_cpp" $(PYTEST_ARGS)

screenshot: .venv/dev  ## rewrite the screenshots in docs/
	$(BIN)/python -m pytest -m screenshots

icons: .venv/dev  ## render the PNG icons from llama_ui/web/static/icon.svg
	$(BIN)/python -m tests.render_icons

page-report: .venv/dev  ## measure room, layout shift, slow replies and accessibility of the page: writes docs/page-report.md
	$(BIN)/python -m tests.page_report

bench: .venv/dev .venv/peers/installed  ## how fast it is beside other UIs: 20 minutes, writes bench/RESULTS.md
	$(BIN)/python bench/run.py

clean:  ## remove what was installed
	rm -rf .venv

.venv/uv:
	@command -v $(PYTHON) >/dev/null || { echo "make: Python 3.12 or newer is needed; there is no '$(PYTHON)' (say which with PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "make: Python 3.12 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1) (say which with PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: Python's venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@touch $@

# Where the local stack's engine has no wheel, all the rest is installed.
.venv/app: requirements.txt .venv/uv
	@$(UV) -r requirements.txt || { \
		echo "make: trying without the local stack's engine, xllamacpp" >&2; \
		grep -v '^xllamacpp' requirements.txt > .venv/without-engine.txt; \
		$(UV) -r .venv/without-engine.txt; }
	@touch $@

.venv/dev: tests/requirements.txt .venv/app
	@$(UV) -r tests/requirements.txt
	@touch $@

# What is measured beside the app, in an environment of its own.
.venv/peers/installed: bench/peers/requirements.txt .venv/uv
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/peers
	@$(BIN)/uv pip install --quiet --python .venv/peers/bin/python -r bench/peers/requirements.txt
	@touch $@
