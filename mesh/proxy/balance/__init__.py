"""Balancing: which host of a cluster gets a request.

`host` is one endpoint with what this proxy knows about it; `priority` spreads over priorities and localities and
knows about panic; `pickers`, `ring_hash` and `maglev` choose within one list of hosts; `balancer` puts them together.
"""

from mesh.proxy.balance.balancer import Balancer, make_balancer
from mesh.proxy.balance.hash_key import CompiledHash, HashKey
from mesh.proxy.balance.host import Host

__all__ = ["Balancer", "CompiledHash", "HashKey", "Host", "make_balancer"]
