# Every target sets up what it needs in .venv; the second call is quick.
#   make demo       label the photographs in examples/ with the demo model, on the CPU
#   make test       lint, types and all tests but the slow ones
#   make test-all   the slow ones too
#   make test-browser   pages in a headless Chromium (Debian: apt-get install chromium-headless-shell)
#   make docs       write the table of docs/pixels.md anew
#   make lint  make format  make bench  make clean
.POSIX:
.PHONY: demo test test-all test-browser lint format docs bench clean venv

PYTHON = python3
MIN_FREE_GB = 8
TEST_PROCESSES = 2
BIN = .venv/bin

demo: .venv/.run-ready
	@$(BIN)/sam-batch run configs/demo.yaml

test: lint
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m "not slow and not browser"

test-all: lint
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m "not browser"

test-browser: .venv/.dev-ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	@$(BIN)/python -m pytest tests/browser

lint: .venv/.dev-ready
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

format: .venv/.dev-ready
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

docs: .venv/.dev-ready
	@PYTHONPATH=tests $(BIN)/python -m support.kinds.page

bench: .venv/.dev-ready
	@for program in benchmarks/*.py; do $(BIN)/python "$$program" || exit 1; done

# Removes what the targets above made, and nothing a job wrote.
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find sam_batch tests jobs benchmarks training -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps are touched last, so an interrupted installation is taken up again.
.venv/.run-ready: pyproject.toml
	@$(MAKE) -s venv
	@echo "Installing sam-batch (PyTorch is large: this takes minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.dev-ready: pyproject.toml
	@$(MAKE) -s venv
	@echo "Installing sam-batch and its development tools (PyTorch is large: this takes minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/.run-ready

venv:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	    echo "sam-batch needs Python 3.11 to 3.13, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	if [ "$$free" -lt $(MIN_FREE_GB) ]; then \
	    echo "The installation needs $(MIN_FREE_GB) GB of disk, $$free GB are free here." >&2; \
	    echo "To try all the same: make MIN_FREE_GB=0 ..." >&2; exit 1; fi; \
	$(PYTHON) -m venv .venv
