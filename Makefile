# Every target sets up what it needs in .venv; the second call is quick.
#   make demo       label the photographs in examples/ with the demo model, on the CPU
#   make test       lint, types and all tests but the slow ones
#   make test-all   the slow ones too
#   make test-lowest    the tests of `make test` with the lowest versions that pyproject.toml allows, in .venv-lowest
#   make cluster    the tests of Ray clusters of several nodes and of Ray's job server, on this machine; the slow ones too
#   make faults     the tests of kills, outages, full disks, hangs and lost clusters, the slow ones too
#   make fuzz MINUTES=10    torn and twisted pictures, configurations, lists and prompts, so long each
#   make scale SCALE_IMAGES=1000000 SCALE_FOLDER=/tmp/scale    what many images cost the driver; makes links and keeps them
#   make stores     the tests of gs:// and abfs:// against servers on this machine; needs Node, and takes Azurite from npm
#   make test-browser   pages in a headless Chromium (Debian: apt-get install chromium-headless-shell)
#   make screenshots    the pictures of docs/app.md anew, by the same Chromium
#   make test-recipes   the snippets of docs/recipes.md, with the packages that they are about
#   make test-readers   programs from PyPI read what is exported, in .venv-readers; make readers writes their table anew
#   make docs       write the table of docs/pixels.md anew
#   make lint  make format  make bench  make clean
.POSIX:
.PHONY: demo test pytest test-all test-lowest test-browser screenshots test-recipes test-readers readers stores cluster faults fuzz scale lint format docs bench clean venv

PYTHON = python3
MIN_FREE_GB = 8
MINUTES = 10
SCALE_IMAGES = 1000000
SCALE_FOLDER = /tmp/scale
TEST_PROCESSES = 2
FAULTS = tests/job/test_kill.py tests/job/ray/test_clusters.py tests/job/test_preflight.py tests/job/ray/test_executor.py tests/job/ray/test_head.py tests/job/ray/test_witness.py \
    tests/job/test_breaker.py tests/job/test_deadline.py tests/job/test_ending.py tests/job/test_endings.py \
    tests/job/test_outage.py tests/job/test_second_pass.py tests/job/test_stopped.py tests/job/test_worker.py tests/output/test_lease.py \
    tests/data/test_storage_exclusive.py tests/data/test_storage_objects.py tests/data/test_storage_hub.py tests/test_hub_job.py
CLUSTER = tests/job/ray/test_clusters.py tests/job/test_preflight.py tests/job/ray/test_nodes.py tests/job/ray/test_submit.py \
    tests/job/ray/test_metrics.py tests/test_jobs.py
VENV = .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

demo: $(VENV)/.run-ready
	@$(BIN)/sam-batch run configs/demo.yaml
	@echo "your own: $(BIN)/sam-batch run configs/laptop.yaml input.uri=FOLDER output.uri=runs/mine"

test: lint pytest

pytest: $(VENV)/.dev-ready
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --max-worker-restart 0 -m "not slow and not browser and not readers and not stores"

test-all: lint
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --max-worker-restart 0 -m "not browser and not readers and not stores"

# pip can only take the newest; uv takes the lowest, of what pyproject.toml names. Lint and types are left out: what old
# packages say of their own types is no fault of ours.
test-lowest:
	@$(MAKE) -s venv VENV=.venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(MAKE) pytest VENV=.venv-lowest \
	    INSTALL=".venv-lowest/bin/python -m uv pip install --quiet --python .venv-lowest --resolution lowest-direct"

cluster: $(VENV)/.dev-ready
	@$(INSTALL) --editable '.[cluster]'
	@$(BIN)/python -m pytest -v --durations=0 --durations-min=1 $(CLUSTER)

# What it showed is in benchmarks/RELIABILITY.md.
faults: $(VENV)/.dev-ready
	@$(BIN)/python -m pytest -v --durations=0 --durations-min=1 $(FAULTS)

# atheris leads by coverage; where it cannot be installed, whole seeds are mutated.
fuzz: $(VENV)/.dev-ready
	@$(INSTALL) atheris || true
	@PYTHONPATH=tests $(BIN)/python -m support.fuzz --minutes $(MINUTES)

scale: $(VENV)/.dev-ready
	@$(BIN)/python benchmarks/scale.py --images $(SCALE_IMAGES) --folder $(SCALE_FOLDER) --parts

test-browser: $(VENV)/.dev-ready
	@$(INSTALL) --editable '.[browser]'
	@$(BIN)/python -m pytest tests/browser

screenshots: $(VENV)/.dev-ready
	@$(INSTALL) --editable '.[browser]'
	@PYTHONPATH=tests $(BIN)/python -m support.screenshots

test-recipes: $(VENV)/.dev-ready
	@$(INSTALL) --editable '.[recipes]'
	@$(BIN)/python -m pytest tests/test_recipes.py tests/output/test_card.py

stores: $(VENV)/.dev-ready .azurite/node_modules
	@$(INSTALL) --editable '.[stores]'
	@AZURITE_BLOB=.azurite/node_modules/azurite/dist/src/blob/main.js \
	    $(BIN)/python -m pytest -m stores tests/data/test_storage.py tests/test_stores.py

.azurite/node_modules:
	@npm install --prefix .azurite --no-audit --no-fund azurite@3.37.0

test-readers: .venv-readers/.ready
	@.venv-readers/bin/python -m pytest -m readers tests/readers

readers: .venv-readers/.ready
	@cd tests && ../.venv-readers/bin/python -W ignore -m support.readers.page

# Some 250 packages, PyTorch with its CUDA libraries among them: the programs that read exports, whole.
.venv-readers/.ready: pyproject.toml tests/readers/requirements.txt
	@$(MAKE) -s venv VENV=.venv-readers
	@echo "Installing the programs of tests/readers/requirements.txt (12 GB: this takes minutes, once) ..."
	@.venv-readers/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
	    --requirement tests/readers/requirements.txt
	@touch $@

lint: $(VENV)/.dev-ready
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

format: $(VENV)/.dev-ready
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

docs: $(VENV)/.dev-ready
	@PYTHONPATH=tests $(BIN)/python -m support.kinds.page

bench: $(VENV)/.dev-ready
	@for program in $$(ls benchmarks/*.py | grep -v -e /gpu.py -e /scale.py); do $(BIN)/python "$$program" || exit 1; done

# Removes what the targets above made, and nothing a job wrote.
clean:
	rm -rf .venv .venv-lowest .venv-readers .azurite .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find sam_batch tests jobs benchmarks training -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps are touched last, so an interrupted installation is taken up again.
$(VENV)/.run-ready: pyproject.toml
	@$(MAKE) -s venv
	@echo "Installing sam-batch (PyTorch is large: this takes minutes, once) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev-ready: pyproject.toml
	@$(MAKE) -s venv
	@echo "Installing sam-batch and its development tools (PyTorch is large: this takes minutes, once) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.run-ready

venv:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	    echo "sam-batch needs Python 3.11 to 3.13, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	if [ "$$free" -lt $(MIN_FREE_GB) ]; then \
	    echo "The installation needs $(MIN_FREE_GB) GB of disk, $$free GB are free here." >&2; \
	    echo "To try all the same: make MIN_FREE_GB=0 ..." >&2; exit 1; fi; \
	$(PYTHON) -m venv $(VENV)
