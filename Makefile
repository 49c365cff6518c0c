# Everything runs in a virtual environment that the first target makes: nothing outside this folder changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Whether arrays have the shapes of their annotations: a sixth of the CPU seconds, so that the fast tests go without.
CHECK_SHAPES := --jaxtyping-packages=jaxals,tests.check_types
# Tests run in as many processes as there are cores, but four at most: each takes up to 5 GB.
PYTEST := $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-all coverage lint format docs reproduce bench notebooks wheel dev clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## train on MovieLens, compare with popularity, recommend, draw demo-output/demo.png
	$(BIN)/jaxals demo

test: lint ## check style and types, and run the fast tests
	$(PYTEST)

test-all: lint ## check style and types, and run all tests
	$(PYTEST) -m "" $(CHECK_SHAPES)

coverage: $(VENV)/.dev ## print which lines and branches the fast tests reach
	$(PYTEST) --cov --cov-report=term-missing:skip-covered

lint: $(VENV)/.dev ## check style, types and imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.docs ## run every example of the documentation and build the site into build/docs; warnings are errors
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet -c docs . build/docs
	@echo "Built build/docs/index.html"

reproduce: $(VENV)/.dev ## measure the published tables again, beside irspack; needs JAXALS_DATA
	$(PIP) install --quiet --editable '.[peers]'
	@for script in $(filter-out %/report.py %/strong.py,$(wildcard experiments/reproduce/*.py)); do \
		echo "$$script"; $(BIN)/python $$script || exit 1; done

bench: $(VENV)/.dev ## time training and serving beside implicit and irspack, some ten minutes; keep the machine idle
	$(PIP) install --quiet --editable '.[peers]'
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/training.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/serving.py

notebooks: $(VENV)/.dev ## execute the notebooks and keep their outputs (reads JAXALS_DATA, or downloads)
	OPENBLAS_NUM_THREADS=1 $(BIN)/jupytext --to ipynb --execute notebooks/*.py

wheel: $(VENV)/.dev ## build what is released, check it, and try the wheel in an empty environment
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
		$(BIN)/python -m venv "$$scratch/venv" && cp tests/smoke.py "$$scratch" && \
		"$$scratch/venv/bin/python" -m pip --disable-pip-version-check install --quiet dist/*.whl && \
		cd "$$scratch" && venv/bin/python -I smoke.py

dev: $(VENV)/.dev ## make the virtual environment with all that development needs

clean: ## remove the virtual environments, caches and outputs
	rm -rf .venv* build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Installed again when the dependencies may have changed; a plain install of either kind is otherwise left alone.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.docs: $(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "Installing jaxals[$*] into $(VENV) (the first time takes a few minutes)"
	$(PIP) install --quiet --editable '.[$*]'
	@touch $@
