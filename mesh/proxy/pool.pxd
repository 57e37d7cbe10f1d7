from mesh.proxy.balance.host cimport Host
from mesh.proxy.breaker cimport Breaker
from mesh.proxy.deadlines cimport Deadlines
from mesh.proxy.upstream_h1 cimport UpstreamConnection

cdef double _TRUSTED_SECONDS, _SHARE_OF_LIMIT

cdef class Waiter:
    cdef readonly object parker
    cdef public UpstreamConnection connection
    cdef public bint may_dial

cdef class PoolSettings:
    cdef readonly double idle_seconds
    cdef readonly double max_age_seconds
    cdef readonly long long max_requests

cdef class Pool:
    cdef readonly Host host
    cdef public PoolSettings settings
    cdef public long open
    cdef readonly object waiters
    cdef readonly bint is_draining
    cdef readonly double renewed_at
    cdef Breaker _breaker
    cdef Deadlines _deadlines
    cdef object _on_empty
    cdef list _idle
    cdef double _idle_limit

    cpdef UpstreamConnection take(self, double now)
    cpdef object give_back(self, UpstreamConnection connection, double now)
