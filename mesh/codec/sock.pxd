cimport cython

cpdef object try_recv(int fd, Py_ssize_t max_bytes)
cpdef Py_ssize_t try_send(int fd, bytes data, Py_ssize_t offset=*) except -2

cpdef bint is_quiet(int fd) noexcept

@cython.final
cdef class Sock:
    cdef readonly int fd
    cdef readonly bint is_drained
    cdef readonly bint is_hung_up

    cpdef int on_events(self, unsigned int events) except -1
    cpdef object recv(self, Py_ssize_t max_bytes)
    cpdef Py_ssize_t send(self, bytes data, Py_ssize_t offset=*) except -2
