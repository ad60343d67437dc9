.PHONY: help format check test

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

format:  ## put every file into shape
	uv run ruff format .
	uv run ruff check --fix .

check:  ## the one gate: format, lint, types, fast tests
	uv run ruff format --check .
	uv run ruff check .
	uv run mypy
	uv run pytest -m "not slow"

test:  ## every test, the slow ones too
	uv run pytest
