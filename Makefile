PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BEGUN := $(VENV)/.begun
STAMP := $(VENV)/.complete

.DEFAULT_GOAL := help
.PHONY: help $(VENV) run test lint clean

help:
	@echo "make .venv   build the virtual environment (PYTHON=... picks the interpreter, 3.11 or later)"
	@echo "make run     show fastslow at work on the default core"
	@echo "make test    lint, types and tests"
	@echo "make lint    ruff and mypy alone"
	@echo "make clean   remove the virtual environment, so that it is built anew, and what tools left behind"

$(VENV): $(STAMP)

# The stamp comes last: a build that was cut off has none, and starts again from nothing. An environment that somebody
# else made is not removed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "fastslow needs Python 3.11 or later, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
		echo "Install one, or name it: make .venv PYTHON=/path/to/python3.11"; exit 1; }
	@test -e $(STAMP) || test -e $(BEGUN) || test ! -e $(VENV) || { \
		echo "$(VENV) is there, and make did not make it: move it away, or let 'make clean' remove it."; exit 1; }
	@test -e $(STAMP) || rm -rf $(VENV)
	@mkdir -p $(VENV) && touch $(BEGUN)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

run: $(STAMP)
	$(BIN)/fastslow demo

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/mypy

# Two processes, each of one thread: what a file sets up for its tests is set up once.
test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
