from mesh.codec.sock cimport is_quiet, try_recv, try_send

cdef unsigned int _IN, _OUT, _HUP
cdef double _STALE_SECONDS

cdef class Parker:
    cdef object _task

    cpdef object wake(self)

cdef class Channel:
    cdef readonly Poller _poller
    cdef object _sock
    cdef public int fd
    cdef public int interest
    cdef public Parker parker
    cdef public bint hung_up
    cdef public bint is_readable
    cdef public object on_idle

    cpdef bytes try_recv(self, Py_ssize_t size)
    cpdef Py_ssize_t try_send(self, bytes data, Py_ssize_t offset=*) except -2
    cpdef bint is_quiet(self) except -1

cdef class Poller:
    cdef object _epoll
    cdef dict _channels
    cdef public double polled_at
    cdef public list after_batch

    cdef bint _dispatch(self) except -1
    cpdef object flush(self)
