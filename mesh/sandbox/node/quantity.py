"""Kubernetes quantities ("100m", "64Mi", "1e3") as exact numbers. Pure.

Source: Kubernetes API conventions, resource.Quantity.
"""

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:[eE]([+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str) -> Fraction:
    """The exact value.

    Raises: ValueError: `text` is not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, exponent, suffix = match.groups()
    value = Fraction(number)
    if exponent is not None:
        return value * _power_of_ten(int(exponent))
    if suffix in _BINARY:
        return value * Fraction(2 ** _BINARY[suffix])
    return value * _power_of_ten(_DECIMAL[suffix or ""])


def _power_of_ten(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def divide(text: str, divisor: str) -> int:
    """How many `divisor`s are in `text`, rounded up, as resourceFieldRef counts.

    Raises: ValueError: one of them is not a quantity, or the divisor is zero.
    """
    unit = parse(divisor)
    if unit == 0:
        unit = Fraction(1)  # the API's default divisor is "0", which means 1
    return math.ceil(parse(text) / unit)
