# One definition of every check, for developers, the pre-commit hook and CI. Needs Python >= 3.11 and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --constraint constraints.txt --build-constraint constraints.txt
# Most tests wait for processes of theirs; those of one file share what it has set up.
AT_ONCE := --numprocesses 3 --dist loadfile
FAST := not stack and not browser and not slow

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-all fuzz backends grafana readers lint types bench reliability soak clean web web-packages web-check

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '%-10s %s\n' "$$t" "$$d"; done

# Three stamps, so that make demo does not wait for the developers' tools and only the benchmarks load pandas.
.venv/stamp-base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("otel-perf needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	@# the pip that comes with Python 3.11 knows neither dependency groups nor build constraints
	$(PIP) install --quiet --constraint constraints.txt --upgrade pip
	$(INSTALL) --editable .
	@touch $@

.venv/stamp-dev: .venv/stamp-base
	$(INSTALL) --group dev
	@touch $@

.venv/stamp-bench: .venv/stamp-dev
	$(INSTALL) --group bench
	@touch $@

venv: .venv/stamp-dev ## set up .venv with the package (editable) and the developers' tools

demo: .venv/stamp-base ## record the sample application and show its startup report
	$(BIN)/otel-perf demo

test: .venv/stamp-dev ## unit and integration tests that do not wait for much, a few minutes
	@# in the order of folders: the many short ones of tests/unit come last and fill what is left
	$(BIN)/python -m pytest $(AT_ONCE) --no-loadscope-reorder -m "$(FAST)"

test-all: .venv/stamp-dev backends grafana readers web-packages ## every test there is; needs Go for the real backends, node and chromium
	$(BIN)/python -m pytest $(AT_ONCE)

fuzz: .venv/stamp-dev ## show damaged and hostile files to every reader, for an hour or FUZZ_EXAMPLES=number
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),20000) $(BIN)/python -m pytest tests/unit/test_fuzz_readers.py --timeout 0

backends: .venv/stamp-base ## build the real backends that some tests need, once per machine (15 minutes, with Go)
	$(BIN)/python tests/stack/backends/build.py

grafana: .venv/stamp-base ## install Grafana's libraries, with which dashboards are tested, once per machine (1 minute, with npm)
	$(BIN)/python tests/stack/grafana/install.py

readers: .venv/stamp-base ## install speedscope and inferno, to which exported files are shown, once per machine (1 minute, npm and cargo)
	$(BIN)/python tests/stack/formats/install.py

web/node_modules/.package-lock.json: web/package.json web/package-lock.json web/.npmrc
	cd web && npm ci
	@touch $@

web-packages: web/node_modules/.package-lock.json ## install the packages that the local page is built with (half a minute, with npm)

web: web-packages ## build the local page into src/otel_perf/view/assets/; the same sources give the same bytes
	cd web && npm run build

web-check: web-packages ## types and tests of the page's sources, and whether the built page is what they make
	cd web && npm run types
	cd web && npm test
	cd web && OTEL_PERF_ASSETS=$(CURDIR)/web/node_modules/.built npm run build
	diff -r web/node_modules/.built src/otel_perf/view/assets

lint: .venv/stamp-dev ## style, format, direction of imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

types: .venv/stamp-dev ## mypy --strict on src/
	$(BIN)/mypy

bench: .venv/stamp-bench ## measure against the peers, side by side
	$(BIN)/python -m bench

reliability: .venv/stamp-dev ## inject faults into real programs and write docs/reliability.md (10 minutes, Linux)
	$(BIN)/python -m bench.reliability

soak: .venv/stamp-dev ## an outage of 10 minutes, then 30 minutes at 5,000 spans a second before a dead collector
	$(BIN)/python -m bench.soak

clean: ## remove .venv, caches and recorded runs
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist .otel-perf
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
