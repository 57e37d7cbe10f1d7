from mesh.proxy.balance.host cimport Host
from mesh.proxy.breaker cimport Breaker
from mesh.proxy.deadlines cimport Deadline, Deadlines
from mesh.proxy.pool cimport Pool, PoolSettings, Waiter
from mesh.proxy.upstream_h1 cimport UpstreamConnection

cdef class ClusterRuntime:
    cdef readonly object model
    cdef readonly object balancer
    cdef readonly Breaker breaker
    cdef readonly object outlier
    cdef readonly object unsupported
    cdef public bint is_used
    cdef public bint greets
    cdef public object used
    cdef public object changed
    cdef readonly object dialler
    cdef object _assignment
    cdef readonly Deadlines _deadlines
    cdef Deadline _sweep
    cdef PoolSettings _settings
    cdef dict _pools
    cdef dict _by_destination
    cdef bint _is_by_destination

    cpdef UpstreamConnection take(self, Host host, double now)
    cpdef object release(self, Host host, UpstreamConnection connection, double now)
    cpdef object on_response(self, Host host, int status, double now)
