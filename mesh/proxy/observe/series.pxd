cdef class Histogram:
    cdef readonly list counts
    cdef readonly double sum
    cdef Py_ssize_t _bucket
    cdef double _above
    cdef double _up_to

    cpdef object observe(self, double value)
    cdef object _find(self, double value)

cdef class Series:
    cdef readonly str labels
    cdef readonly list values
    cdef readonly tuple histograms
    cdef public double touched_at
    cdef public bint is_live
    cdef public bint is_overflow
    cdef public Series companion
