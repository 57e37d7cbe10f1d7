"""CommandError: a command that could not do its work, with the exit code that says of which kind."""

from __future__ import annotations

NEGATIVE = 1
USAGE = 2
UNREACHABLE = 3


class CommandError(Exception):
    """Shown as one line on stderr. code: see the package's docstring."""

    def __init__(self, message: str, code: int = NEGATIVE) -> None:
        super().__init__(message)
        self.code = code
