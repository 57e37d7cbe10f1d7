"""The one error that people see of a sandbox's life."""


class SandboxError(Exception):
    """The sandbox cannot be brought up, reached or removed; one line for people."""
