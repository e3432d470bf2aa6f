# Everything runs in .venv, which needs only Python >= 3.10.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

# make demo SEEDS=6 SCENES=generated-slots,generated-crossing RESULTS=… REPORTS=…
SEEDS ?= 1
SCENES ?= generated-slots
RESULTS ?= runs/demo
REPORTS ?= runs/demo/reports

.PHONY: demo test test-slow test-slurm lint bench clean

demo: .venv/.demo
	$(BIN)/videomt-bench demo --seeds 1-$(SEEDS) --datasets $(SCENES) --results "$(RESULTS)" --reports "$(REPORTS)"

test: .venv/.test
	$(BIN)/python -m pytest -n 2 -m "not slow and not slurm"

test-slow: .venv/.test
	$(BIN)/python -m pytest -m slow

# as root on Debian or Ubuntu: installs and starts a SLURM on this machine first
test-slurm: .venv/.test
	tests/slurm/start.sh
	$(BIN)/python -m pytest tests/slurm -m slurm

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv runs build dist

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "videomt-bench needs Python 3.10 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -c 'import mmengine'  # it caches a grammar at first import, which two processes must not do at once
	touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -c 'import mmengine'  # it caches a grammar at first import, which two processes must not do at once
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@
