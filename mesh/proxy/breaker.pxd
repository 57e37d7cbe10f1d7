cdef class Breaker:
    cdef long long _budget_min, _max_connections, _max_pending, _max_requests, _max_retries
    cdef double _budget_share
    cdef public long long connections, pending, requests, retries, retries_total
    cdef public long long overflow_connections, overflow_pending, overflow_requests, overflow_retries

    cpdef bint try_request(self) except -1
    cpdef object end_request(self)
    cpdef object end_connection(self)
