cdef class Host:
    cdef public object endpoint, locality
    cdef public str name
    cdef public long weight, priority, active, ejections
    cdef public double added_at, warm_at, ejected_at
    cdef public bint ejected, is_outlier_clean
    cdef public long consecutive_5xx, consecutive_gateway, consecutive_local
    cdef public long long requests_total, requests_success, requests_error, connect_failures
    cdef public dict series
