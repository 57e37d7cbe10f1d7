# `make demo` and `make test` are the only two commands a newcomer needs; each sets up what it lacks.
# Set-up lives in scripts/setup.sh: Debian packages, .venv, PyPI, compiled modules. Quick when nothing is missing.
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.PHONY: help setup demo test check bench test-kube clean
help:
	@echo "make demo [ARGS='--json --down']   run bookinfo through real sidecars on this machine"
	@echo "make test [ARGS=...]               all tests (needs root and Linux for the sandbox ones)"
	@echo "make check                         ruff, mypy, import-linter, layout checks"
	@echo "make bench                         ratios against direct, Envoy and HAProxy in one interleaved run"
	@echo "make test-kube                     the contract and the stories on a real kube-apiserver (needs Go)"

setup:
	@sh scripts/setup.sh

demo: setup
	@$(PY) -m mesh.cli demo $(ARGS)

test: setup
	@sh scripts/test.sh $(ARGS)

check: setup
	@sh scripts/check.sh

bench: setup
	@sh scripts/setup.sh bench
	@$(PY) -m benchmarks $(ARGS)

test-kube: setup
	@sh scripts/test-kube.sh $(ARGS)

clean:
	rm -rf build .venv .venv-envoy
	find mesh injector -name '*.so' -delete
