"""meshctl: one file per verb, plus `kube` (the API), `output` (table|json|yaml) and `proxies` (what runs where).

Exit codes: 0 done or true; 1 a negative answer (something is broken, missing or refused); 2 wrong usage;
3 the API server, the sandbox or a proxy cannot be reached; 130 interrupted.
"""
