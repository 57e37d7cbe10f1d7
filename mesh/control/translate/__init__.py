"""From what Kubernetes says to what a proxy is told. Pure: no clock, no I/O, no randomness.

    World ──build──► Graph ──project(node)──► Snapshot

Read in this order: `registry` (hosts), `policies` (DestinationRules), `bindings` (which rules govern a host: the one
place of precedence), `actions` (a rule becomes routes), `authentication` (what PeerAuthentication demands), `peers` (who is behind a service),
`endpoints`, `mesh_tls` + `clusters`, `scopes` (what a Sidecar hides); then per node `outbound` + `inbound` (with `doors`) →
`sidecar`, `gateways` + `gateway`, `proxyless`.
"""
