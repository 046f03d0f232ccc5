# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first when it is missing.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: install demo test tests test-slurm check format lint types security bench

# Tests and stages start hundreds of processes: compiled code is kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

install: .venv/installed

# PyTorch, Blender and the rest: about 6 GB and a few minutes. Not compiled: of 18,000 files most are never imported.
# pip works on one core, so what is largest comes first and side by side: CUDA's libraries, and all else.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt
LARGE := torch torchvision pyoidn scipy opencv-python-headless "bpy; python_version == '3.11'"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	sed -nE 's/^(nvidia-|triton==).*/&; sys_platform == "linux" and platform_machine == "x86_64"/p' constraints.txt >.venv/cuda.txt
	$(PIP) --no-deps -r .venv/cuda.txt & $(PIP) --no-deps $(LARGE) && wait $$!
	$(PIP) -e '.[render,dev]'
	touch $@

demo: install
	$(BIN)/simpath demo

check: format lint types security

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

security: install
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive sim pretrain transfer controller pipelines benchmarks

# In this order, or side by side with `make -j`.
test: check tests

# One test process for each core, so one thread each: waiting threads would only take turns.
tests: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadgroup -m "not slurm"

# On a real SLURM that the tests start on this machine: apt-get install slurm-wlm munge
test-slurm: install
	$(BIN)/python -m pytest -m slurm tests/pipelines/test_slurm.py

# Those that need no arguments; the others say in their first lines what they want.
BENCHMARKS := controller dense faults pathways pretrain render render_workers scale transfer

bench: install
	failed=; for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python -P benchmarks/$$b.py || failed="$$failed $$b"; done; \
	if [ "$$failed" ]; then echo "failed, or over a limit:$$failed"; exit 1; fi
