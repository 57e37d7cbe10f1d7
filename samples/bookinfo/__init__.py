"""Bookinfo: four small services that show what a mesh does to the traffic between them.

    productpage ──► details
        └─────────► reviews (v1 no stars, v2 black, v3 red) ──► ratings ──► memory, MySQL or MongoDB

The HTTP behaviour is that of Istio's sample of the same name (ports, paths, bodies, forwarded headers, timeouts, the
double try), so that its manifests and its walk-throughs hold. Standard library only: each starts in a tenth of a second.
"""
