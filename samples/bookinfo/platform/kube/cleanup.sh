#!/bin/sh
# Remove bookinfo and all routing of it from a namespace: cleanup.sh [namespace]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
namespace=${1:-default}
for kind in destinationrules.networking.istio.io virtualservices.networking.istio.io gateways.networking.istio.io \
  authorizationpolicies.security.istio.io httproutes.gateway.networking.k8s.io gateways.gateway.networking.k8s.io; do
  kubectl delete -n "$namespace" "$kind" --all
done
for file in bookinfo-versions.yaml bookinfo.yaml; do
  kubectl delete -n "$namespace" --ignore-not-found -f "$here/$file"
done
