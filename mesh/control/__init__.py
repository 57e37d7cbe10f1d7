"""The control plane: what Kubernetes says becomes what each proxy is told.

    watchers (kube/) → WorldStore → hold-off → build (translate/) → Publisher → ADS server → proxies
                                                     └→ status planner → status writer → Kubernetes

One asyncio loop; I/O in `main`, `ads_server`, `monitoring`, `status_writer` and `kube/{client,watch}`; the rest is pure.
"""
