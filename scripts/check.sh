#!/bin/sh
# What must hold of the source before any test runs: lint, types, dependency direction, one test module per module.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
run() { printf '>> %s\n' "$1" >&2; shift; "$@"; }
run "ruff" $bin/ruff check --quiet .
run "mypy --strict" $bin/mypy --no-error-summary
run "import-linter" $bin/lint-imports --no-cache
run "layout" $bin/python scripts/check_layout.py
echo "check: all clean"
