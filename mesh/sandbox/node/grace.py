"""How long the containers of a pod may still take to stop."""

import contextlib
from collections.abc import Iterator

import trio


class Grace:
    """When a pod's containers must have stopped; may be brought forward while they stop."""

    def __init__(self) -> None:
        self.deadline = float("inf")
        self._scopes: set[trio.CancelScope] = set()

    def shorten(self, deadline: float) -> None:
        """Stop earlier than planned."""
        self.deadline = min(self.deadline, deadline)
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)

    @contextlib.contextmanager
    def scope(self, deadline: float) -> Iterator[trio.CancelScope]:
        """Give up at `deadline`, or at the pod's if that comes sooner."""
        with trio.CancelScope(deadline=min(deadline, self.deadline)) as scope:
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)
