"""Request ids: `x-request-id`, a random UUID (RFC 9562 version 4)."""

from __future__ import annotations

from collections.abc import Callable

HEADER = b"x-request-id"

# Section 5.4: four bits of version (4), two of variant (10), the rest random.
_RANDOM = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_MARKS = 0x00000000_0000_4000_8000_000000000000


def make_request_id(random_bits: Callable[[int], int]) -> bytes:
    """A new id. random_bits: `random.getrandbits`; ids are for joining logs, not secrets."""
    digits = b"%032x" % (random_bits(128) & _RANDOM | _MARKS)
    return b"%b-%b-%b-%b-%b" % (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
