#!/bin/sh
# The tests that take the cluster as a parameter, on a real kube-apiserver; binaries by scripts/kube-binaries.sh, once.
# Usage: test-kube.sh [pytest arguments]    with arguments: one plain pytest run of just those, on the real server
# Exit 0 with one clear line where there is no Go toolchain.
set -eu
cd "$(dirname "$0")/.."
pytest=".venv/bin/python -m pytest -q"
status=0
sh scripts/kube-binaries.sh >/dev/null || status=$?
[ "$status" = 77 ] && exit 0
[ "$status" = 0 ] || exit "$status"
[ $# -gt 0 ] && exec $pytest --kube=real "$@"
$pytest --kube=real -n 2 --dist loadfile tests/conformance/kube_api tests/conformance/crds tests/feature/test_injection_kube.py
$pytest --kube=bare tests/conformance/kube_api/test_ownership.py
if [ "$(id -u)" != 0 ]; then
  echo "triomesh: not root: the stories, which need network namespaces, are skipped" >&2
  exit 0
fi
# Not the long walks over routes (tests/e2e/test_switching.py): `make test` has them, and they ask the API server nothing new.
$pytest --kube=real tests/e2e/test_bookinfo.py tests/e2e/test_outages.py tests/e2e/test_admission.py tests/e2e/test_rights.py
# With our controllers instead of kube-controller-manager.
exec $pytest --kube=bare tests/e2e/test_bookinfo.py tests/e2e/test_rights.py
