# make demo: the quickstart. The others: setup, test, check, bench, clean (docs/quickstart.md).
# Read from the environment or the command line: PYTHON (setup), PORT, DEMO_TRIALS, DEMO_SEED, DEMO_EXIT, DATA_DIR (demo).

.PHONY: setup setup-dev demo test check bench clean
.DEFAULT_GOAL := demo
python := .venv/bin/python
benchmarks := trial_overhead lineage swarm keep_rule explorer live audit tamper chaos throughput growth

setup:
	@scripts/setup

setup-dev:
	@scripts/setup --dev

demo: setup
	@$(python) manage.py demo --with-parent

test: setup-dev
	@scripts/chromium
	@$(python) -m pytest $(PYTEST_FLAGS)

check: setup-dev
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	cd evaluators/child && ../../$(python) -m mypy --strict --config-file= --explicit-package-bases *.py
	@set -e; for child in evaluators/environments/script/child specialists/proposers/command/child docs/examples/tabular/child; do \
		(cd $$child && MYPYPATH=$(CURDIR)/evaluators/child $(CURDIR)/$(python) -m mypy --strict --config-file= --explicit-package-bases __main__.py); done
	$(python) -m mypy docs/examples/tabular/environment.py
	.venv/bin/lint-imports --no-cache
	$(python) manage.py makemigrations --check --dry-run

bench: setup
	@set -e; for name in $(basename $(notdir $(wildcard $(benchmarks:%=benchmarks/%.py)))); do \
		$(python) -m benchmarks.$$name $(BENCH_FLAGS); done

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache test-artifacts
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
