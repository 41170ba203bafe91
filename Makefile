# Two front doors: `make demo` and `make test`. Each makes .venv and installs what it needs the first time.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help demo test lint check docs speed benchmark lock release clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/models ## install, run UniAS, UniAD and PatchCore on the embedded data set, print the tables and where the report is
	$(BIN)/aseg-bench run --methods uni_as,uniad,patchcore --preset quick --dataset demo --out $(OUT)

test: .venv/dev ## install and run all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/dev ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## what every commit must pass: format, lint, types, then all tests

docs: .venv/docs ## build the site into build/docs
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs

speed: .venv/dev ## measure the metric core and its peers, models, reports, memory and intervals; write reports/
	$(BIN)/python benchmark.py speed
	$(BIN)/python benchmark.py models
	$(BIN)/python benchmark.py report
	$(BIN)/python benchmark.py memory
	$(BIN)/python benchmark.py coverage

benchmark: .venv/anomalib ## train and score all live methods on the embedded data set; write reports/live
	$(BIN)/python benchmark.py live

lock: .venv/dev ## write constraints.txt: the newest releases, which .venv then gets and everything is tested with
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --no-annotate \
	    --custom-compile-command "make lock" --output-file constraints.txt --quiet

release: .venv/dev ## build wheel and sdist, check them, run the wheel in a clean environment, tag the commit
	.ci/release

clean: ## remove the environment and the caches
	rm -rf .venv build dist docs/generated *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/models .venv/dev .venv/docs .venv/anomalib: .venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@
