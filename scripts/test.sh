#!/bin/sh
# All tests, in two runs: what needs no cluster (parallel, one worker a core), then the sandbox ones (each worker has its own sandbox).
# Usage: test.sh [pytest arguments]    with arguments: one plain pytest run of just those
set -eu
cd "$(dirname "$0")/.."
pytest=".venv/bin/python -m pytest"
[ $# -gt 0 ] && exec $pytest "$@"
if [ "$(id -u)" != 0 ]; then
  echo "triomesh: not root: the tests that need network namespaces are skipped" >&2
  exec $pytest -q -n 2 -m "not root and not e2e"
fi
$pytest -q -n 2 --dist loadfile -m "not e2e"
$pytest -q -n 2 --dist loadfile -m e2e
