from mesh.proxy.observe.digits cimport Digits

cdef class TraceContext:
    cdef readonly bytes trace_id, span_id, parent_id, lines
    cdef readonly bint is_sampled, is_debug

cdef class Sampler:
    cdef double _client_share, _overall_share, _share
    cdef bint _is_edge
    cdef object _rng
    cdef Digits _digits

    cdef bint _draw(self, head) except -1
    cpdef TraceContext begin(self, head)

cpdef extract(head)
cpdef wish(head, bint is_edge=*)
cpdef bytes trace_lines(bytes trace_id, bytes span_id, bytes parent_id, bint is_sampled, bint is_debug=*)
