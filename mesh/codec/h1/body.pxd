cimport cython
from mesh.codec.h1.fields cimport Fields, find_end, find_lf, parse_fields, scan_value

cdef int NO_BODY, LENGTH, CHUNKED, UNTIL_CLOSE

@cython.final
cdef class Body:
    cdef readonly int kind
    cdef readonly bint is_done
    cdef readonly Py_ssize_t remaining
    cdef readonly Fields trailers
    cdef Py_ssize_t start
    cdef Py_ssize_t stop
    cdef int _phase
    cdef Py_ssize_t _extension_bytes
    cdef Py_ssize_t _max_trailer_bytes
    cdef Py_ssize_t _max_trailers
    cdef int _fault

    cdef int begin(self, int kind, Py_ssize_t length) except -1
    cdef Py_ssize_t advance(self, bytes buffer, Py_ssize_t pos, bint data_only) except -1
    cdef Py_ssize_t _advance_chunked(self, bytes buffer, Py_ssize_t pos, bint data_only) except -1
    cdef Py_ssize_t _read_size(self, bytes buffer, Py_ssize_t start, Py_ssize_t lf) except -1
    cdef int _read_trailers(self, bytes section) except -1
