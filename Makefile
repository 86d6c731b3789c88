# make demo: the whole method on a small scale, offline.   make test: lint, unit and DAG tests.
# make local: the study on real data.   make lock: resolve the dependencies anew.
# make coverage: the unit tests, and which lines they run.
# make slurm-test: the demo's jobs and some faults through a real SLURM.   make slurm-faults: all faults,
# and the tables of docs/cluster.md.   make methods: docs/methods.md and
# docs/operators.md from the methods and operators.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo local test lint unit coverage dag slurm-test slurm-faults schema methods lock

demo: .venv/installed
	@snakemake --configfile config/demo.yaml
	@ls results/demo/figures/*.png results/demo/tables/*

local: .venv/installed
	@snakemake --configfile config/local.yaml
	@ls results/local/figures/*.png results/local/tables/*

test: lint unit dag

lint: .venv/installed
	ruff check .
	ruff format --check .
	snakefmt --check .
	codespell
	mypy
	snakemake --lint

unit: .venv/installed
	pytest -n 2 --dist loadfile -m "not dag and not slurm" --durations=5

coverage: .venv/installed
	pytest -n 2 --dist loadfile -m "not dag and not slurm" --cov --cov-report=term

dag: .venv/installed
	pytest -n 2 --dist loadfile -m dag --durations=5

slurm-test: .venv/installed
	pytest -m slurm_quick tests/slurm -rs

slurm-faults: .venv/installed
	# the demo first: it is timed
	pytest -m slurm tests/slurm/test_workflow.py tests/slurm/test_faults.py -rs --fault-table docs/faults.json
	PYTHONPATH=tests python -m slurm.report docs/faults.json docs/cluster.md

schema: .venv/installed
	PYTHONPATH=workflow/scripts python config/make_schema.py

methods: .venv/installed
	PYTHONPATH=workflow/scripts python docs/make_methods.py
	PYTHONPATH=workflow/scripts python docs/make_operators.py

lock:
	$(PYTHON) envs/lock.py

.venv/installed: envs/lock.txt envs/install.sh
	PYTHON=$(PYTHON) sh envs/install.sh .venv
	@touch $@
