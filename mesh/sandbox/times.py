"""Kubernetes' time format."""

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """Unix time as RFC 3339 with whole seconds, as metav1.Time is written."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(seconds: float) -> str:
    """Unix time as metav1.MicroTime is written."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_stamp(text: str) -> float:
    """The inverse of both.

    Raises: ValueError: not a time.
    """
    return datetime.fromisoformat(text).timestamp()
