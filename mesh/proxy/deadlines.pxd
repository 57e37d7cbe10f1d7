cdef class _Entry:
    cdef readonly double at
    cdef long order
    cdef readonly Deadline deadline

cdef class Deadline:
    cdef Deadlines _owner
    cdef _Entry _entry
    cdef double _queued_at
    cdef readonly double at
    cdef readonly object on_expiry

    cpdef object arm(self, double at)
    cpdef object lift(self)
    cdef object _queue(self, double at)

cdef class Deadlines:
    cdef public object now
    cdef readonly list _heap
    cdef long _order
    cdef long _dropped
    cdef double _sleeping_until
    cdef object _earlier
