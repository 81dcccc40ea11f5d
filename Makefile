# Everything a newcomer needs: `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
OUT := out
BIN := $(VENV)/bin

.PHONY: demo test quick lint docs bench options qgis clean

demo: $(VENV)/installed
	$(BIN)/geoseg run workflows/land_use.yaml --output $(OUT)/land_use
	$(BIN)/geoseg preview $(OUT)/land_use $(OUT)/land_use/preview.jpg

test: $(VENV)/installed-dev lint
	$(BIN)/pytest -n 2 --dist worksteal

quick: $(VENV)/installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site in out/site; a link that leads nowhere, a bad docstring or a failing notebook is an error.
docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs $(OUT)/site

# docs/options.md, geoseg/signatures.py and the schemas, after a change of an option.
options: $(VENV)/installed-dev
	$(BIN)/python -m docs.generate

# The plugin as QGIS' plugin manager installs it, in out/geoseg_processing.zip.
qgis:
	$(PYTHON) qgis/package.py $(OUT)/geoseg_processing.zip

bench: $(VENV)/installed-dev
	$(BIN)/pip install --quiet ".[benchmarks]"
	$(BIN)/python -m benchmarks

# What a user needs: wheels only, no compiler.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'geoseg needs Python 3.11 or newer: make PYTHON=python3.12 demo')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# What a developer needs besides: tests, types, lint.
$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(OUT)
