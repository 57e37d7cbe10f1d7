"""The data plane. The way of a connection, and which file to open:

    intercept   listening sockets follow the configuration; accept
    arrival     from accept to what serves it, step by step:
        destination, proxy_header                            where the client wanted to go, and who it is
        chains, inspection -> detect                         which chain: by that, or by first bytes, raced against a server that speaks first
        termination -> tls, tls_context, xfcc                 TLS that ends here, and what the application is told of the client's certificate
        prelude                                              HTTP/1 or HTTP/2, by the first bytes of an HTTP chain
    connection  meanwhile and until the end: its tasks, its end, its line in the log (connection_log), the one exception boundary
    downstream_h1 -> exchange -> forwarding                  one HTTP/1 request after the other (seat: its state; no task until one has to wait)
    attempts -> transfer, upstream_h1                        the same request when it has to wait for something
    opaque -> relay                                          bytes nobody looks into
    http2                                                    until there is a codec: relayed or refused

What an exchange asks (all of it sync, without a socket): route (domains, route_index, compiled_route, match), filters (cors, faults), balance, retry, breaker, outlier,
unprocessed (two proxies' agreement), forwarded and edits (heads), reply (answers of our own), observe (metrics, spans, logs).

What it stands on: poller (readiness), deadlines (timeouts), dialler -> connect, tls (a channel like the plain one), tls_context (credentials,
peer_names: what a handshake is made of, and whom it is to find), pool, clusters, resolve (DNS), snapshots (compiled
configuration, replaced whole; superseded: whom that leaves behind), ads_thread (where it comes from), drain, bootstrap, heap, pipeline and main (the process).

Its own ports: admin and introspect (15000), status_server, probes and health (15020, 15021), served by local_http.

Who we are to peers and to the control plane: identity (judges a certificate), renewal (when the next one is due), identity_keeper (asks for it), identity_file,
certificate_request (the key, made in a child), control_plane (address, roots, token).

Modules with a .pxd beside them are the way of a plain request, compiled from the very same source (setup.py COMPILED). The
.pxd says which fields are C's; edit both together, then `sh scripts/setup.sh`. Coroutines stay out of them where they can.
"""
