# cython: language_level=3
"""Digits: random hexadecimal digits for ids, made some thousands at a time, because formatting costs more than drawing."""

from __future__ import annotations

from collections.abc import Callable

import cython

_BATCH = 8192


class Digits:
    """random_bits: `random.getrandbits`, or a seeded one in tests. The ids are for joining logs, not secrets."""

    _random_bits: Callable[[int], int]
    _text: bytes
    _at: int

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._text = b""
        self._at = 0

    def take(self, count: cython.Py_ssize_t) -> bytes:
        """That many lower-case digits, never all of them zero (W3C Trace Context 3.2.2.3). count: at most 64."""
        end: cython.Py_ssize_t = self._at + count
        if end > len(self._text):
            self._text = b"%0*x" % (_BATCH, self._random_bits(4 * _BATCH))
            end = count
        text: bytes = self._text[end - count : end]
        self._at = end
        return text if text[0] != 48 or text.strip(b"0") else text[:-1] + b"1"
