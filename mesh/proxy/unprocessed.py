"""Unprocessed: how a server's proxy tells the client's that the application has not seen a request.

An application that stops closes its port before its endpoint is gone everywhere; its proxy, still there, gets requests that
nobody will take. It answers 503 as ever. If the client's proxy is one of ours (its peer metadata says so), the answer has one
header more, by which that proxy knows that the request may be made again elsewhere, whatever its method: what a refused
connection says where there is no proxy in between. The header never goes further than from proxy to proxy.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = b"x-triomesh-unprocessed"
LINE: Final = b"x-triomesh-unprocessed: true\r\n"
MAX_MOVES: Final = 3
"""How many more hosts one request is taken to: when more than that refuse, it is no rollout."""
