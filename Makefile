# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first when it is missing.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: install demo test test-slurm check bench

install: .venv/installed

# PyTorch, Blender and the rest: about 6 GB and a few minutes. Compiled on all cores, which pip does on one; a few files
# for other versions of Python do not compile.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[render,dev]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	touch $@

demo: install
	$(BIN)/simpath demo

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive sim pretrain transfer controller pipelines benchmarks

# One test process for each core, so one thread each: waiting threads would only take turns. Tests start hundreds of
# processes, so compiled code is kept, whatever the environment says.
test: check
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadgroup -m "not slurm"

# On a real SLURM that the tests start on this machine: apt-get install slurm-wlm munge
test-slurm: install
	$(BIN)/python -m pytest -m slurm tests/pipelines/test_slurm.py

bench: install
	for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(BIN)/python -P $$b || exit 1; done
