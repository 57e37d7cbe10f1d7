# cython: language_level=3
"""Request ids: `x-request-id`, a random UUID (RFC 9562 version 4)."""

from __future__ import annotations

import cython

if not cython.compiled:  # when compiled, request_id.pxd cimports these names
    from mesh.proxy.observe.digits import Digits

HEADER = b"x-request-id"

# Section 5.4: one digit is the version (4), two bits of another one the variant (10).
_VARIANTS = {ord(f"{value:x}"): b"89ab"[value % 4 : value % 4 + 1] for value in range(16)}


def make_request_id(digits: Digits) -> bytes:
    """A new id."""
    text: bytes = digits.take(31)
    variant: bytes = _VARIANTS[text[15]]
    return text[:8] + b"-" + text[8:12] + b"-4" + text[12:15] + b"-" + variant + text[16:19] + b"-" + text[19:]
