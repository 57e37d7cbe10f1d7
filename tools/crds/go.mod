module triomesh.io/tools/crds

go 1.24.0

require (
	istio.io/api v1.27.0
	sigs.k8s.io/gateway-api v1.4.0
)
