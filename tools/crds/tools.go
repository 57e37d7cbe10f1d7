//go:build tools

// Package tools pins the modules that real CRDs come from (their YAML is read from the module cache; nothing is built).
package tools

import (
	_ "istio.io/api"
	_ "sigs.k8s.io/gateway-api"
)
