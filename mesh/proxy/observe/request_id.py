"""Request ids: `x-request-id`, a random UUID (RFC 9562 version 4)."""

from __future__ import annotations

from collections.abc import Callable

HEADER = b"x-request-id"


def make_request_id(random_bits: Callable[[int], int]) -> bytes:
    """A new id. random_bits: `random.getrandbits`; ids are for joining logs, not secrets."""
    digits = b"%032x" % random_bits(128)
    # Section 5.4: four bits of version, two of variant.
    variant = b"89ab"[int(digits[16:17], 16) & 3]
    return b"%b-%b-4%b-%c%b-%b" % (digits[:8], digits[8:12], digits[13:16], variant, digits[17:20], digits[20:])
