cimport cython
from mesh.codec.h1.body cimport Body, NO_BODY, LENGTH, CHUNKED, UNTIL_CLOSE
from mesh.codec.h1.fields cimport Fields, find_end, find_lf, scan_token
from mesh.codec.h1.head cimport Head, RequestHead, ResponseHead, parse_request, parse_response

@cython.final
cdef class Limits:
    cdef readonly Py_ssize_t max_head_bytes
    cdef readonly Py_ssize_t max_headers

cdef class Parser:
    cdef bytes _buffer
    cdef Py_ssize_t _pos
    cdef bint _in_body
    cdef bint _at_eof
    cdef int _fault
    cdef Py_ssize_t _max_head_bytes
    cdef Py_ssize_t _max_headers
    cdef Body _body
    cdef object _error

    cdef int _setup(self, Limits limits, int fault) except -1
    cpdef int feed(self, bytes data) except -1
    cpdef int eof(self) except -1
    cpdef bytes leftover(self)
    cpdef int next(self) except -1
    cpdef object body_raw(self)
    cpdef object body_data(self)
    cpdef bytes whole_body(self)
    cdef object _run(self, bint data_only)
    cdef int _start_body(self, Head head, bint until_close) except -1
    cdef bytes _take_head(self)
    cdef int _check_start(self) except -1
    cdef int _check_open(self) except -1
    cdef int _fail(self, object error) except -1

@cython.final
cdef class RequestParser(Parser):
    cdef int _skipped
    cpdef RequestHead head(self)

@cython.final
cdef class ResponseParser(Parser):
    cpdef ResponseHead head(self, bytes request_method)
