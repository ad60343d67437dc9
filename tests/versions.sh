#!/usr/bin/env bash
# versions.sh PYTHON REQUIREMENT...: runs the fast tests in an environment of its own, .versions/PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
folder=.versions/$python
shift
uv venv --quiet --clear --python "$python" "$folder"
printf '%s\n' "$@" > "$folder/constraints.txt"
uv pip install --quiet --python "$folder" --editable '.[tune]' --group recbole --group dev \
    --constraints "$folder/constraints.txt"
"$folder/bin/python" -m pytest -m 'not slow'
