"""Build of the compiled modules (pure-Python Cython sources that also run uncompiled).

Every module named in COMPILED is ordinary Python; the extension built beside it takes precedence when
imported. `TRIOMESH_PURE=1` skips compilation.
"""

import os

from setuptools import Extension, setup

COMPILED = [
    "mesh/codec/h1/fields.py",
    "mesh/codec/h1/head.py",
    "mesh/codec/h1/body.py",
    "mesh/codec/h1/parser.py",
    "mesh/codec/h1/encode.py",
    "mesh/codec/sock.py",
    "mesh/proxy/balance/host.py",
    "mesh/proxy/breaker.py",
    "mesh/proxy/clusters.py",
    "mesh/proxy/compiled_route.py",
    "mesh/proxy/deadlines.py",
    "mesh/proxy/exchange.py",
    "mesh/proxy/forwarded.py",
    "mesh/proxy/forwarding.py",
    "mesh/proxy/observe/digits.py",
    "mesh/proxy/observe/http.py",
    "mesh/proxy/observe/record.py",
    "mesh/proxy/observe/request_id.py",
    "mesh/proxy/observe/series.py",
    "mesh/proxy/observe/trace.py",
    "mesh/proxy/match.py",
    "mesh/proxy/poller.py",
    "mesh/proxy/pool.py",
    "mesh/proxy/route_index.py",
    "mesh/proxy/seat.py",
    "mesh/proxy/upstream_h1.py",
]


def extensions() -> list[Extension]:
    """The extensions to build: those sources of COMPILED that exist."""
    if os.environ.get("TRIOMESH_PURE"):
        return []
    from Cython.Build import cythonize

    sources = [path for path in COMPILED if os.path.exists(path)]
    modules = [Extension(path[:-3].replace("/", "."), [path], extra_compile_args=["-O2"]) for path in sources]
    return cythonize(modules, language_level=3, build_dir="build/cython")  # type: ignore[no-any-return]


setup(ext_modules=extensions())
