"""The embedded Kubernetes API server: one process, SQLite below, HTTPS above.

A request travels `http` (bytes ↔ request) → `server` (authn, rbac, dispatch) → `handlers` (one verb each) → `prepare`
(decode, default, validate: sync) → `admission` (webhooks) → `storage` (revision, durable commit) → `watch` (everybody who follows).
Kinds are rows of `kinds`; CustomResourceDefinitions add rows at run time (`crd`). `patch*`, `fields`, `apply` decide what an object
becomes; `tables`/`columns` how kubectl prints it; `relay` joins a client to a kubelet or a pod.
"""
