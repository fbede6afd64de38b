# Two commands do everything on a fresh clone: `make up` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WEB := client_demo/web
ARGS ?=

NATIVE := edge/native
NATIVE_SOURCES := $(shell find $(NATIVE) client_demo/headless/native -name target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print)

.PHONY: up test test-long check check-native test-native native bench screenshots lock clean

up: $(VENV)/.installed $(NATIVE)/.built ## start everything on this machine; ARGS="--host 0.0.0.0" lets phones in
	@exec $(BIN)/farstage up $(ARGS)

test: $(VENV)/.installed $(NATIVE)/.built test-native ## all tests, on real Redis, real Chromium and a real Vulkan driver
	@tests/support/ensure_system.sh
	$(BIN)/pytest -m "not long" $(ARGS)
	node --test $(WEB)/tests/*.test.js

test-long: $(VENV)/.installed $(NATIVE)/.built ## what takes longer: outages of half a minute, every benchmark once
	@tests/support/ensure_system.sh
	$(BIN)/pytest -m long $(ARGS)

test-native: ## the tests of the native engine's crates, if Rust is here
	@if command -v cargo >/dev/null; then cd $(NATIVE) && cargo test --workspace --release; \
		else echo "skipped: Rust is not installed"; fi

fuzz: ## the property tests of every parser at length; CASES=... for longer
	cd $(NATIVE) && PROPTEST_CASES=$${CASES:-200000} cargo test --workspace --release --exclude farstage-python

native: ## build the native media engine and the load generator, or say what is missing
	@rm -f $(NATIVE)/.built
	@$(MAKE) --no-print-directory $(NATIVE)/.built

check: $(VENV)/.installed $(WEB)/node_modules/.installed $(NATIVE)/.built check-native ## lint, format, types (Python, JavaScript, Rust)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(WEB) && npx --no-install tsc -p . --noEmit

check-native: $(VENV)/.installed $(NATIVE)/.built
	@if command -v cargo >/dev/null; then cd $(NATIVE) && cargo fmt --all --check && \
		cargo clippy --release --workspace --all-targets -- -D warnings; else echo "skipped: Rust is not installed"; fi
	@if test -e edge/_native.abi3.so; then $(BIN)/stubtest edge._native; fi

bench: $(VENV)/.installed $(NATIVE)/.built ## the README's figures; ARGS="--save FILE" keeps them
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(VENV)/.installed ## the pictures in docs/, from the running system
	$(BIN)/python docs/take_screenshots.py

lock: ## resolve the dependencies anew
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements.lock

clean: ## remove what the targets above made
	rm -rf $(NATIVE)/target $(NATIVE)/.built edge/_native.abi3.so
	rm -rf $(VENV) $(WEB)/node_modules .farstage .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Farstage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "installing Python packages into $(VENV) (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(MAKE) --no-print-directory $(NATIVE)/.built
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(NATIVE)/.built: $(NATIVE_SOURCES)
	@if command -v cargo >/dev/null; then \
		echo "building the native media engine (once, one to two minutes)"; \
		cd $(NATIVE) && cargo build --release --locked -p farstage-load && \
		cargo rustc --release --locked --lib -p farstage-python --features pyo3/extension-module --crate-type cdylib && \
		cp target/release/lib_native.so ../_native.abi3.so; \
	else \
		echo "Rust is not installed: Farstage uses the aiortc engine, for tens of viewers." && \
		echo "For thousands: install Rust (https://rustup.rs) and a C compiler, then make native"; \
	fi
	@touch $@

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json
	@command -v npm >/dev/null || tests/support/ensure_system.sh
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
