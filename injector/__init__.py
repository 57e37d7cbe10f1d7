"""The sidecar injector: a webhook that adds the proxy to pods, and the init container's program.

    review    AdmissionReview in and out          request    what one pod asks for, validated
    decide    whether, and why                    sidecar    the containers that are added
    patch     pod in, injected pod out            probes     the kubelet's calls, through the proxy
    inject    the same for YAML files             merge      the user's own proxy container laid over ours
    advice    warnings for mesh objects that have no effect

    capture   what to intercept                   settings, proxy_config, fields, selector, keys, pod, shape:
    iptables  the rules for it, as text           reading what administrators and users wrote

All these are pure. I/O is in capture_run (the init container), server, web, keeper, trust and kube (the webhook) alone.
Nothing is imported here: the init container starts in tens of milliseconds.
"""
