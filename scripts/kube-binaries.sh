#!/bin/sh
# Builds kube-apiserver, kube-controller-manager and etcd from their Go modules (tools/kube, tools/etcd) into a cache
# outside the repository, keyed by their go.sum, and finds the real CRDs of Gateway API and Istio (tools/crds).
# Prints shell assignments for `eval`: KUBE_APISERVER KUBE_CONTROLLER_MANAGER ETCD GATEWAY_API_CRDS ISTIO_CRDS.
# Usage: kube-binaries.sh [crds]    with `crds`: only the last two, which takes no build
# Exit 77: there is no Go toolchain (one clear line on stderr).
set -eu
cd "$(dirname "$0")/.."
command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || { echo "triomesh: no Go toolchain: the tests on a real kube-apiserver are skipped" >&2; exit 77; }
PATH=$PATH:/usr/local/go/bin
say() { printf '>> %s\n' "$*" >&2; }
cache=${TRIOMESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/triomesh}

# A module build has no git to ask: the version that the server reports (and its feature gates follow) is set by the linker.
stamps() {
  minor=${1#v1.}; minor=${minor%%.*}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s ' "$package" "$1" "$package" "$package" "$minor"
  done
}

# build MODULE_DIR PACKAGE OUTPUT
build() {
  version=$(awk '$1 == "require" && NF == 3 { print $3 }' "tools/$1/go.mod")
  key=$(cat "tools/$1/go.mod" "tools/$1/go.sum" | sha256sum | cut -c1-16)
  binary="$cache/$1-$key/$3"
  if [ ! -x "$binary" ]; then
    say "building $3 from its Go module (once; some minutes)"
    mkdir -p "${binary%/*}"
    (cd "tools/$1" && nice -n 10 go build -trimpath -ldflags "$(stamps "$version")" -o "$binary.new" "$2") >&2
    mv "$binary.new" "$binary"
  fi
  printf '%s\n' "$binary"
}

# crds MODULE PATH: a folder or file of the module, from the module cache
crds() {
  version=$(awk -v module="$1" '$1 == module { print $2 }' tools/crds/go.mod)
  dir=$(cd tools/crds && GOFLAGS=-mod=mod go mod download -json "$1@$version" | awk -F'"' '$2 == "Dir" { print $4 }')
  printf '%s/%s\n' "$dir" "$2"
}

echo "GATEWAY_API_CRDS=$(crds sigs.k8s.io/gateway-api config/crd/standard)"
echo "ISTIO_CRDS=$(crds istio.io/api kubernetes/customresourcedefinitions.gen.yaml)"
[ "${1:-}" = crds ] && exit 0
echo "ETCD=$(build etcd go.etcd.io/etcd/server/v3 etcd)"
echo "KUBE_APISERVER=$(build kube k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver)"
echo "KUBE_CONTROLLER_MANAGER=$(build kube k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager)"
