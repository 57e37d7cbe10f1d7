"""The embedded cluster: what Kubernetes is to the mesh where there is none. Map of the package:

    supervisor   up, down, status                                    layout     files and names of one sandbox
    supervision  the process that keeps the daemons running          leftovers  remove whatever is left, from the outside
    daemons      start, watch, restart one daemon                    apisockets the API server's, which outlive it
    apiserver/   the Kubernetes API                                  pki        its certificates
    controllers/ Deployments, Services → EndpointSlices, …           node/      scheduler, kubelet, runtime, kube-proxy
    network      addresses and nat rules (pure)                      netns      make and remove network namespaces
    dns          cluster DNS (pure); dnsserver is its shell          forward    127.0.0.1 of the host → Services; forwardclient asks it
    images       which local command stands in for which image       linux      kernel calls that Python has no name for
    kubeclient   API client; informer, events                        ipam       pod addresses
"""
