# Nothing but Python 3.11+ and make is needed. Every target builds what it needs in .venv/.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
DATA   ?= .cache/demo
PORT   ?= 8000

.PHONY: demo serve test check bench torture clean lock

$(BIN)/python:
	$(PYTHON) docker/bootstrap.py $(VENV)

# Two stamps, so that people who only want to look never install the test tools.
$(VENV)/.run: pyproject.toml requirements.lock | $(BIN)/python
	$(PIP) install --quiet --constraint requirements.lock --editable .
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

test: check  ## everything that CI runs
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --cov --cov-report=term:skip-covered

bench: $(VENV)/.run  ## how well captions find their pictures, and pictures per second
	$(BIN)/kallos bench all

torture: $(VENV)/.dev  ## 200 kills while everything happens at once; CI runs 16
	$(BIN)/python -m tests.torture --runs 200

lock: $(VENV)/.dev  ## pin what is installed now
	$(PIP) freeze --exclude-editable > requirements.lock

clean:
	rm -rf $(VENV) .cache
