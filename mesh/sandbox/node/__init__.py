"""The node of a sandbox: what scheduler, kubelet, container runtime and kube-proxy are in a cluster.

    main         wires everything; the only place that constructs things
    schedule     gives unscheduled pods to this node
    podworker    the life of one pod: network, volumes, init containers, containers, probes, restarts, termination
    lifecycle    what a pod does next, given what its containers did (pure)
    podstatus    the Kubernetes status of a pod, given the same (pure)
    podspec      env, commands, users, mounts of a container (pure);  volumes  their files
    probes       when a probe turns (pure) and how it is made
    runtime      a small process that forks containers, keeps their logs and outlives the node agent
    launch       what happens between fork and exec: namespaces, root directory, user
    server       the kubelet's HTTPS API: logs, exec, attach, port-forward
    services     Services and EndpointSlices → nat rules, host forwards, DNS records
"""
