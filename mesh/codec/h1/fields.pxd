cimport cython

cdef int ORDINARY, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, HOP, TE, UPGRADE, EXPECT
cdef int STRIDE
cdef bytes _CLASSES, _LOWER

cdef Py_ssize_t find_lf(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef Py_ssize_t scan_token(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef Py_ssize_t scan_target(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef Py_ssize_t scan_value(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef Py_ssize_t scan_authority(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef bint same_name(bytes raw, Py_ssize_t start, Py_ssize_t stop, bytes name) noexcept
cdef Py_ssize_t _scan(bytes raw, Py_ssize_t start, Py_ssize_t stop, unsigned char bit) noexcept
cdef int kind_of(bytes raw, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef Py_ssize_t find_end(bytes raw, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t max_lines) noexcept
cdef Py_ssize_t parse_fields(Fields fields, bytes raw, Py_ssize_t start, Py_ssize_t max_count, int fault) except -1

cdef class Fields:
    cdef readonly bytes raw
    cdef readonly Py_ssize_t count
    cdef int* _spans
    cdef Py_ssize_t _room
    cdef Py_ssize_t _first
    cdef unsigned long long _lengths

    cdef Py_ssize_t _grow(self) except -1
    cdef Py_ssize_t _line_end(self, Py_ssize_t line) noexcept
    cpdef bytes get(self, bytes name)
