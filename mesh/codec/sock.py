# cython: language_level=3, boundscheck=False, wraparound=False
# mypy: disable-error-code="no-any-return"
"""Non-blocking socket calls without exceptions for "not now": try first, wait only when told to.

Compiled, a call is the system call and little else (no coroutine, no BlockingIOError, no buffer to resize);
uncompiled it goes through the socket module. Nothing here waits, and nothing here knows of trio.

The compiled forms keep the GIL: a non-blocking call is over sooner than the GIL is handed back and forth.
"""

import errno as errno_names
import socket

import cython

if cython.compiled:
    from cython.cimports.libc.stdlib import malloc  # type: ignore[import-untyped]
    from cython.cimports.mesh.codec.libc_socket import (  # type: ignore[import-untyped]
        EAGAIN,
        EINTR,
        MSG_DONTWAIT,
        MSG_NOSIGNAL,
        MSG_PEEK,
        PyErr_SetFromErrno,
        c_recv,
        c_send,
        errno,
    )

SCRATCH_BYTES = 262144
"""The most that one try_recv returns. 256 KiB measured best for large bodies: smaller pays per call, larger in cache."""
_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number

if cython.compiled:
    # One buffer for all connections: bytes are copied out of it before anything else can run.
    _scratch = cython.declare(cython.p_char, cython.cast(cython.p_char, malloc(262144)))
    if _scratch == cython.NULL:
        raise MemoryError


def try_recv(fd: cython.int, max_bytes: cython.Py_ssize_t) -> bytes | None:
    """Receive at most max_bytes (and at most SCRATCH_BYTES).

    Returns: None: nothing there now. b"": the peer sends nothing more.
    Raises: OSError: as recv(2).
    """
    if cython.compiled:
        size: cython.Py_ssize_t = max_bytes if max_bytes < 262144 else 262144
        got: cython.Py_ssize_t = c_recv(fd, _scratch, size, MSG_DONTWAIT)
        while got < 0:
            if errno == EAGAIN:
                return None
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            got = c_recv(fd, _scratch, size, MSG_DONTWAIT)
        return _scratch[:got]
    borrowed = _borrow(fd)
    try:
        return borrowed.recv(min(max_bytes, SCRATCH_BYTES), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    finally:
        borrowed.detach()


def try_send(fd: cython.int, data: bytes, offset: cython.Py_ssize_t = 0) -> int:
    """Send data[offset:], as much as the kernel takes.

    Returns: octets taken, -1 when none can be taken now.
    Raises: OSError: as send(2); BrokenPipeError instead of SIGPIPE.
    """
    if cython.compiled:
        base: cython.p_const_char = data
        size: cython.Py_ssize_t = len(data) - offset
        if offset < 0 or size < 0:
            raise ValueError("offset outside the data")
        sent: cython.Py_ssize_t = c_send(fd, base + offset, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        while sent < 0:
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            sent = c_send(fd, base + offset, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        return sent
    if not 0 <= offset <= len(data):
        raise ValueError("offset outside the data")
    borrowed = _borrow(fd)
    try:
        return borrowed.send(memoryview(data)[offset:], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return -1
    finally:
        borrowed.detach()


def is_quiet(fd: cython.int) -> bool:
    """Whether nothing has arrived: no byte, no end of the stream, no error. For idle pooled connections.

    False for a descriptor that is not a socket (any more), too.
    """
    if cython.compiled:
        byte: cython.char = 0
        return c_recv(fd, cython.address(byte), 1, MSG_DONTWAIT | MSG_PEEK) < 0 and errno == EAGAIN
    try:
        borrowed = _borrow(fd)
    except OSError:
        return False
    try:
        borrowed.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        borrowed.detach()
    return False


class Sock:
    """A plaintext socket under edge-triggered epoll, which remembers when there is nothing left to read.

    A read shorter than asked for has emptied the socket, so that the next try_recv, which would only say EAGAIN, is
    skipped until epoll reports an edge. That does not hold once the peer has hung up: its FIN comes without a
    further edge. The socket must be registered with IN|OUT|RDHUP|ET. Owns nothing: who made the descriptor closes it.

    Attributes: fd. is_drained: nothing to read before the next edge. is_hung_up: the peer sends no more, or an error
        is pending; what was sent before it may still be unread.
    """

    fd: int
    is_drained: bool
    is_hung_up: bool

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_drained = self.is_hung_up = False

    def on_events(self, events: cython.uint) -> int:
        """Note what epoll reported."""
        if events & 0x2018:  # EPOLLRDHUP | EPOLLHUP | EPOLLERR
            self.is_hung_up = True
        if events & 0x2019:  # the same | EPOLLIN
            self.is_drained = False
        return 0

    def recv(self, max_bytes: cython.Py_ssize_t) -> bytes | None:
        """As try_recv."""
        if self.is_drained:
            return None
        data = try_recv(self.fd, max_bytes)
        if data is None or 0 < len(data) < (max_bytes if max_bytes < 262144 else 262144):
            self.is_drained = not self.is_hung_up
        return data

    def send(self, data: bytes, offset: cython.Py_ssize_t = 0) -> int:
        """As try_send."""
        return try_send(self.fd, data, offset)


def original_dst(fd: int, family: int) -> tuple[str, int] | None:
    """Where the client of an accepted, redirected connection wanted to go: (address, port); IPv4 in IPv6 unmapped.

    Args: family: of the listening socket, AF_INET or AF_INET6 (which may have accepted IPv4).
    Returns: None when netfilter knows nothing of the connection: it was not redirected.
    Raises: OSError: anything else that getsockopt(2) says.
    """
    borrowed = socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        if family == socket.AF_INET6:
            raw = _nat_entry(borrowed, socket.IPPROTO_IPV6, 28)  # struct sockaddr_in6
            if raw is not None:
                return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
        raw = _nat_entry(borrowed, socket.IPPROTO_IP, 16)  # struct sockaddr_in
        if raw is None:
            return None
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")
    finally:
        borrowed.detach()


def _nat_entry(connection: socket.socket, level: int, size: int) -> bytes | None:
    # ENOENT: no entry; the other two: no such netfilter module, or not for this address family.
    try:
        return connection.getsockopt(level, _SO_ORIGINAL_DST, size)
    except OSError as error:
        if error.errno in (errno_names.ENOENT, errno_names.ENOPROTOOPT, errno_names.EOPNOTSUPP):
            return None
        raise


def _borrow(fd: int) -> socket.socket:
    # A socket object for one call; detached afterwards, so that it never closes what it does not own.
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
