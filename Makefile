# Two commands set everything up: `make run` and `make test`. Both make .venv if it is missing.
PYTHON ?= python3
ARGS ?= algo=ddiffpg,sac task=pointmaze-v3

.PHONY: run test slow check docs

run: .venv/ready
	.venv/bin/python -m bench run $(ARGS)

test: .venv/ready
	.venv/bin/python -m pytest -n 2 $(if $(filter command\ line,$(origin ARGS)),$(ARGS))

slow: .venv/ready  # what must be learned: minutes; before an issue is called resolved
	.venv/bin/python -m pytest -n 2 -m slow $(if $(filter command\ line,$(origin ARGS)),$(ARGS))

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet torch==2.13.0
	.venv/bin/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch .venv/ready

docs: .venv/ready  # the pages of docs/, into site/
	.venv/bin/mkdocs build --strict
