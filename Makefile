# Nothing but Python 3.11+ and make is needed. Every target builds what it needs in .venv/.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
DATA   ?= .cache/demo
PORT   ?= 8000

PYTEST := $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal --durations 25
COVER  := $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

.PHONY: demo serve test quick check browser bench torture clean lock

$(BIN)/python:
	$(PYTHON) docker/bootstrap.py $(VENV)

# Two stamps, so that people who only want to look never install the test tools.
$(VENV)/.run: pyproject.toml requirements-run.lock | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements-run.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	$(PIP) install --quiet --constraint requirements.lock --editable '.[dev]'
	touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## sample gallery, index, server and page on http://127.0.0.1:8000
	$(BIN)/kallos demo --data-dir $(DATA) --port $(PORT)

serve: $(VENV)/.run  ## serve KALLOS_DATA_DIR
	$(BIN)/kallos serve --port $(PORT)

check: $(VENV)/.dev  ## the gates that need no test run
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check browser  ## everything; CI runs it with COVERAGE=1
	$(PYTEST) -rs $(COVER)

quick: check  ## what takes three minutes: all but the slow tests
	$(PYTEST) -m 'not gpu and not slow'

browser: $(VENV)/.dev  ## for the tests of the page
	$(BIN)/python -m tests.support.browser

bench: $(VENV)/.run  ## how well captions find their pictures, and pictures per second
	$(BIN)/kallos bench all

torture: $(VENV)/.dev  ## 200 kills while everything happens at once; CI runs 16
	$(BIN)/python -m tests.torture --runs 200

lock: $(VENV)/.dev  ## pin what is installed now; of that, what running takes, with the hashes of all its builds
	$(PIP) freeze --exclude-editable --exclude uv > requirements.lock
	$(PIP) install --quiet uv
	echo 'hatchling>=1.25 ; editables' | tr ';' '\n' | $(BIN)/uv pip compile pyproject.toml - --quiet --universal \
		--python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate \
		--constraint requirements.lock --output-file requirements-run.lock

clean:
	rm -rf $(VENV) .cache
