# Two commands do everything on a fresh clone: `make up` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WEB := client_demo/web
ARGS ?=

.PHONY: up test check bench screenshots lock clean

up: $(VENV)/.installed ## start everything on this machine; ARGS="--host 0.0.0.0" lets phones in
	@exec $(BIN)/farstage up $(ARGS)

test: $(VENV)/.installed ## all tests, on real Redis, real Chromium and a real Vulkan driver
	@tests/support/ensure_system.sh
	$(BIN)/pytest $(ARGS)
	node --test $(WEB)/tests/*.test.js

check: $(VENV)/.installed $(WEB)/node_modules/.installed ## lint, format, types (Python and JavaScript)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(WEB) && npx --no-install tsc -p . --noEmit

bench: $(VENV)/.installed ## the README's figures; ARGS="--save FILE" keeps them
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(VENV)/.installed ## the pictures in docs/, from the running system
	$(BIN)/python docs/take_screenshots.py

lock: ## resolve the dependencies anew
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements.lock

clean: ## remove what the targets above made
	rm -rf $(VENV) $(WEB)/node_modules .farstage .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Farstage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "installing Python packages into $(VENV) (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json
	@command -v npm >/dev/null || tests/support/ensure_system.sh
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
