"""The runtime's loop: an epoll set and one handler per descriptor."""

import select
from collections.abc import Callable

Handler = Callable[[int], None]
"""Called with the epoll events of its descriptor."""


class Poller:
    """Concurrency: one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def register(self, fd: int, events: int, handler: Handler) -> None:
        """Call `handler(events)` whenever `fd` is ready."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events of a registered descriptor."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget `fd`; done before it is closed, since its number may soon be another's."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def poll(self, seconds: float | None = None) -> None:
        """Wait for something to be ready (None = as long as it takes) and call its handlers."""
        for fd, events in self._epoll.poll(seconds):
            # A handler that was called before may have unregistered this one.
            if (handler := self._handlers.get(fd)) is not None:
                handler(events)

    def close(self) -> None:
        self._epoll.close()
