cimport cython

cdef class Record:
    cdef public object head
    cdef public object connection
    cdef public double started_at
    cdef public bytes scheme
    cdef public str protocol
    cdef public bint is_grpc
    cdef public bytes request_id
    cdef public object trace
    cdef public object peer
    cdef public object route
    cdef public object share
    cdef public object cluster
    cdef public object host
    cdef public str upstream_local
    cdef public bytes upstream_path
    cdef public object upstream_security
    cdef public long attempts
    cdef public long status
    cdef public tuple flags
    cdef public str details
    cdef public str termination_details
    cdef public str transport_failure
    cdef public object response
    cdef public object trailers
    cdef public long grpc_status
    cdef public long long bytes_received
    cdef public long long bytes_sent
    cdef public long long request_messages
    cdef public long long response_messages
    cdef public double request_done_at
    cdef public double upstream_started_at
    cdef public double response_started_at
    cdef public double finished_at

    cpdef long service_milliseconds(self) except? -2
    cpdef object flag(self, object flag)
