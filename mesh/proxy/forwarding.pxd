cimport cython

from mesh.codec.h1.encode cimport encode_request, encode_response
from mesh.codec.h1.head cimport RequestHead, ResponseHead
from mesh.codec.h1.parser cimport ResponseParser
from mesh.proxy.balance.host cimport Host
from mesh.proxy.clusters cimport ClusterRuntime
from mesh.proxy.compiled_route cimport CompiledRoute
from mesh.proxy.forwarded cimport forwarded_lines
from mesh.proxy.observe.record cimport Record
from mesh.proxy.seat cimport Seat
from mesh.proxy.upstream_h1 cimport UpstreamConnection

@cython.final
cdef class Forwarding:
    cdef readonly Seat down
    cdef readonly Record record
    cdef readonly RequestHead head
    cdef readonly CompiledRoute route
    cdef readonly object share
    cdef readonly ClusterRuntime cluster
    cdef readonly Host host
    cdef readonly UpstreamConnection connection
    cdef public ResponseHead response
    cdef readonly object upload
    cdef readonly object framing
    cdef public bytes unsent
    cdef readonly bytes out
    cdef public double now
    cdef public bint needs_fresh
    cdef bint _keep
    cdef bint _is_inside
    cdef bint _is_retrying
    cdef int _moves
    cdef object _hash_key
    cdef tuple _tried

    cpdef bint begin(self) except -1
    cpdef object abandon(self)
    cpdef bint enter(self) except -1
    cpdef object leave(self)
    cpdef Host pick(self)
    cpdef object use(self, UpstreamConnection connection, Host host)
    cpdef object give_up_connection(self)
    cpdef object mirror(self, bytes body)
    cpdef object pause_after(self, ResponseHead response)
    cpdef bint is_unprocessed(self, ResponseHead response) except -1
    cdef object _take_host(self, Host host)
    cpdef object start_response(self, UpstreamConnection connection, ResponseHead response)
    cpdef long status_of(self, ResponseHead response) except -1
    cpdef tuple response_lines(self, ResponseHead response)
    cpdef bint flush(self, UpstreamConnection connection) except -1
    cpdef bint finish(self, UpstreamConnection connection, ResponseHead response) except -1
    cdef bytes _encode_head(self, UpstreamConnection connection, Host host)
    cdef object _resume(self)
    cdef bint _take_body(self) except -1
