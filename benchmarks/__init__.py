"""Benchmarks: requests per CPU-second, throughput and latency of our proxy beside Envoy, HAProxy and no proxy at all.

`python -m benchmarks` (`make bench`) measures all of them in one interleaved run, because the state of a machine
moves more between two runs than the proxies differ. Map: `__main__` the command line, `rounds` who is measured when and how,
`contenders` how each proxy is configured and started, `resources` the xDS configuration that Envoy and ours share,
`peers` the ADS server and the OTLP sink they talk to, `native` the load generator and the back end (C, compiled on
the spot), `certificates` who they are in mutual TLS, `procfs` CPU time and memory, `report` statistics and tables.
"""
