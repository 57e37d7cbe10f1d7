cimport cython
from mesh.codec.h1.fields cimport (
    STRIDE, ORDINARY, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, EXPECT, same_name,
)
from mesh.codec.h1.head cimport Head, RequestHead, ResponseHead

cpdef bytes encode_request(RequestHead head, bytes target=*, bytes authority=*, tuple[bytes, ...] remove=*, bytes extra=*, bint upgrade=*, bytes connection=*, int framing=*)
cpdef bytes encode_response(ResponseHead head, tuple[bytes, ...] remove=*, bytes extra=*, bint upgrade=*, bytes connection=*, int framing=*)
cdef Py_ssize_t _copy_lines(Head head, list[bytes] parts, Py_ssize_t start, tuple[bytes, ...] remove, bint drop_host, bint upgrade,
                            bint drop_framing) except -1
cdef int _finish(Head head, list[bytes] parts, bint upgrade, bytes connection, int framing, bytes extra) except -1
cdef bint _is_removed(Head head, Py_ssize_t at, tuple[bytes, ...] remove) noexcept
