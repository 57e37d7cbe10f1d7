"""Failures carry their exit code."""

from mesh.cli.failure import NEGATIVE, UNREACHABLE, CommandError


def test_a_failure_is_negative_unless_said_otherwise():
    assert (CommandError("x").code, CommandError("x", UNREACHABLE).code) == (NEGATIVE, UNREACHABLE)
