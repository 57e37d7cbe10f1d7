from mesh.codec.h1.parser cimport ResponseParser
from mesh.proxy.deadlines cimport Deadline

cdef class UpstreamConnection:
    cdef public object channel
    cdef readonly ResponseParser parser
    cdef public Deadline deadline
    cdef readonly str local_address
    cdef readonly object security
    cdef public object on_idle
    cdef public double opened_at
    cdef public double idle_since
    cdef public double usable_until
    cdef public long served
