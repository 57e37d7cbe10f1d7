cdef class Digits:
    cdef object _random_bits
    cdef bytes _text
    cdef Py_ssize_t _at

    cpdef bytes take(self, Py_ssize_t count)
