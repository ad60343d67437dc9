.PHONY: help format check test versions

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

format:  ## put every file into shape
	uv run ruff format .
	uv run ruff check --fix .

check:  ## the one gate: format, lint, types, fast tests
	uv run ruff format --check .
	uv run ruff check .
	uv run mypy
	uv run pytest -m "not slow" -n logical

test:  ## every test, the slow ones too
	uv run pytest

versions:  ## fast tests with the oldest and the newest Python, NumPy and PyTorch that we allow (14 GB, half an hour)
	bash tests/versions.sh 3.10 'numpy==1.26.*' 'torch==2.11.*'
	bash tests/versions.sh 3.13 'numpy>=2' 'torch>=2.14'
