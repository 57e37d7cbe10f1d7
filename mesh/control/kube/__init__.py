"""What Kubernetes says: objects parsed once at the edge (pure), and the two files that talk to the API server.

Only `client` and `watch` do I/O. A malformed object is never an exception further in: the bad part becomes a
`Problem` and the rest of the object keeps working.
"""
