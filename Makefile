# Everything a newcomer needs: `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick lint bench clean

demo: .venv/installed
	$(BIN)/geoseg run workflows/land_use.yaml --output out/land_use
	$(BIN)/geoseg preview out/land_use out/land_use/preview.jpg

test: .venv/installed lint
	$(BIN)/pytest -n 2 --dist worksteal

quick: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/pip install --quiet ".[benchmarks]"
	$(BIN)/python -m benchmarks

.venv/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'geoseg needs Python 3.11 or newer: make PYTHON=python3.12 demo')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv out
