cimport cython
from mesh.codec.h1.fields cimport (
    Fields, parse_fields, scan_token, scan_target, scan_value, scan_authority,
    STRIDE, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, EXPECT, TE,
)

cdef class Head(Fields):
    cdef readonly int minor
    cdef readonly Py_ssize_t content_length
    cdef readonly bint is_chunked
    cdef readonly bint keep_alive
    cdef readonly bint has_body
    cdef readonly bytes upgrade
    cdef bint _says_close
    cdef bint _says_keep_alive
    cdef bint _says_upgrade
    cdef bint _names_fields
    cdef bint _wants_trailers
    cdef bint _rewrites_length
    cdef bint _drops_framing

    cdef int _read_lines(self, int fault) except -1
    cdef int _read_connection(self, bytes value) except -1
    cdef int _read_length(self, bytes value, int fault) except -1
    cdef int _read_coding(self, bytes value, int fault) except -1

@cython.final
cdef class RequestHead(Head):
    cdef readonly bytes method
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly bytes authority
    cdef readonly bint expect_continue
    cdef bint _is_absolute

    cdef int _read_target(self, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int _read_absolute(self, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int _read_host(self, Py_ssize_t lines) except -1

@cython.final
cdef class ResponseHead(Head):
    cdef readonly int status
    cdef readonly bytes reason
    cdef readonly bint is_interim
    cdef readonly bint is_until_close

    cdef int _frame(self, bytes request_method) except -1

cdef int _read_version(bytes raw, Py_ssize_t at, int after, int unsupported, int bad) except -1

cpdef RequestHead parse_request(bytes raw, Py_ssize_t max_headers)
cpdef ResponseHead parse_response(bytes raw, Py_ssize_t max_headers, bytes request_method)
