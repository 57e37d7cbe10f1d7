"""XXH64: the hash Envoy's ring and maglev balancers use, so that both place a key on the same endpoint.

Source: the xxHash specification (XXH64). Plain Python: some microseconds for the short keys hashed here.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5


def xxh64(data: bytes, seed: int = 0) -> int:
    """The 64-bit hash of `data`."""
    size = len(data)
    position = 0
    if size >= 32:
        lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed & _MASK, (seed - _P1) & _MASK]
        while position <= size - 32:
            for lane in range(4):
                word = int.from_bytes(data[position : position + 8], "little")
                lanes[lane] = _round(lanes[lane], word)
                position += 8
        value = sum(_rotate(lane, shift) for lane, shift in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane_value in lanes:
            value = ((value ^ _round(0, lane_value)) * _P1 + _P4) & _MASK
    else:
        value = (seed + _P5) & _MASK
    value = (value + size) & _MASK
    while position + 8 <= size:
        value ^= _round(0, int.from_bytes(data[position : position + 8], "little"))
        value = (_rotate(value, 27) * _P1 + _P4) & _MASK
        position += 8
    if position + 4 <= size:
        value ^= int.from_bytes(data[position : position + 4], "little") * _P1 & _MASK
        value = (_rotate(value, 23) * _P2 + _P3) & _MASK
        position += 4
    for byte in data[position:]:
        value ^= byte * _P5 & _MASK
        value = _rotate(value, 11) * _P1 & _MASK
    value = (value ^ value >> 33) * _P2 & _MASK
    value = (value ^ value >> 29) * _P3 & _MASK
    return value ^ value >> 32


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK
