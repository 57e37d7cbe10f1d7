# What sock.py needs of libc when it is compiled.

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv" (int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send" (int fd, const void* buffer, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_PEEK

cdef extern from "errno.h" nogil:
    int errno
    int EAGAIN
    int EINTR

cdef extern from "Python.h":
    object PyErr_SetFromErrno(object kind)
