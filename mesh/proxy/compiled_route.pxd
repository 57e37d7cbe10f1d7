cdef class CompiledRoute:
    cdef readonly object source, origin, kind, fault, cors, response_edits, retry, hash, direct
    cdef readonly str virtual_host, name, origin_text, origin_generation, operation, path_text
    cdef readonly long order, missing_cluster_status
    cdef readonly bint has_filters, auto_host_rewrite
    cdef readonly tuple shares, mirrors
    cdef readonly double timeout_seconds
    cdef readonly object idle_timeout_seconds
    cdef readonly bytes host_rewrite
    cdef object _path_test, _path_change, _location
    cdef tuple _tests, _bounds
    cdef object _total

    cpdef bint matches(self, head) except -1
    cpdef object pick(self, rng)
    cpdef bytes rewritten_target(self, head)
