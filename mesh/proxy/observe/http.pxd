from mesh.proxy.balance.host cimport Host
from mesh.proxy.observe.digits cimport Digits
from mesh.proxy.observe.record cimport Record
from mesh.proxy.observe.request_id cimport make_request_id
from mesh.proxy.observe.series cimport Histogram, Series
from mesh.proxy.observe.trace cimport Sampler, TraceContext

cdef class HttpObserver:
    cdef bint _is_inbound
    cdef bint _generates_id
    cdef bint _owns_id
    cdef object _requests
    cdef object _messages
    cdef object _routes
    cdef object _labels
    cdef object _peers
    cdef bytes _peer_lines
    cdef Sampler _sampler
    cdef object _spans
    cdef object _export
    cdef public tuple loggers
    cdef Digits _digits
    cdef dict _series
    cdef dict _route_series

    cpdef object begin(self, Record record)
    cpdef tuple removals(self, Record record)
    cpdef bytes lines(self, Record record)
    cpdef object end(self, Record record, double now)
    cdef Series _lookup(self, Record record, Host host, double now)
    cdef Series _lookup_route(self, Record record, object route, double now)
