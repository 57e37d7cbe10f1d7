from mesh.codec.h1.head cimport RequestHead
from mesh.codec.h1.parser cimport RequestParser
from mesh.proxy.deadlines cimport Deadline, Deadlines
from mesh.proxy.observe.http cimport HttpObserver
from mesh.proxy.observe.record cimport Record
from mesh.proxy.poller cimport Poller

cdef class Seat:
    cdef readonly object proxy
    cdef readonly object terminal
    cdef readonly HttpObserver observer
    cdef readonly object channel
    cdef readonly object parker
    cdef readonly Poller poller
    cdef readonly Deadlines deadlines
    cdef readonly object connection
    cdef readonly object destination
    cdef readonly bint is_tls
    cdef readonly RequestParser parser
    cdef public Record record
    cdef public RequestHead head
    cdef public bint has_started
    cdef public bint must_close
    cdef public bint is_over
    cdef public bint has_task
    cdef public object decision
    cdef public object forwarding
    cdef public object error
    cdef readonly Deadline idle
    cdef readonly Deadline timeout
    cdef readonly Deadline overall

    cpdef object after_exchange(self, bint keep, double now)
    cpdef object resume(self)
    cpdef object leave(self)
    cpdef object finish(self, Record record)
    cpdef bint is_draining(self) except -1
