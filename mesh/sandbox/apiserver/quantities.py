"""Quantities in the one form in which a real server stores them. Pure.

Source: k8s.io/apimachinery/pkg/api/resource: no fractions, no leading zeros, the largest suffix of the family that was used; 1 is 1000m, 1024Mi is 1Gi.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from mesh.sandbox.apiserver.schema.definitions import Node, child, items, resolve

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d+))?")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_NANO = Decimal("1e-9")


def canonical(text: Any) -> Any:
    """`0.1` → `100m`, `1024Mi` → `1Gi`; what is no quantity is returned as it is."""
    match = _FORM.fullmatch(str(text))
    if match is None or isinstance(text, bool):
        return text
    number, binary, decimal, exponent = match.groups()
    if exponent is not None:
        return _scaled(Decimal(number).scaleb(int(exponent)), lambda power: f"e{power}" if power else "")
    if binary is not None:
        value = Decimal(number) * 1024 ** _BINARY.index(binary)
        if abs(value) >= 1024 or value == 0:
            return _binary(value)
        return _scaled(value, _suffix)  # below 1Ki a binary quantity is written as a decimal one
    return _scaled(Decimal(number).scaleb(3 * (_DECIMAL.index(decimal or "") - 3)), _suffix)


def normalise(value: Any, node: Node) -> None:
    """Make every quantity of an object of a built-in kind canonical, in place."""
    node = resolve(node)
    if isinstance(value, dict):
        for key, entry in value.items():
            below = child(node, key)
            if below is None:
                continue
            if resolve(below).get("format") == "quantity":
                value[key] = canonical(entry)
            else:
                normalise(entry, below)
    elif isinstance(value, list) and "items" in node:
        element = items(node)
        for entry in value:
            normalise(entry, element)


def _binary(value: Decimal) -> str:
    whole, power = int(value.to_integral_value(ROUND_CEILING)), 0
    while whole and whole % 1024 == 0 and power < len(_BINARY) - 1:
        whole, power = whole // 1024, power + 1
    return f"{whole}{_BINARY[power]}"


def _scaled(value: Decimal, suffix: Any) -> str:
    """An integer with a power of a thousand; nothing finer than a billionth."""
    value = value.quantize(_NANO, ROUND_CEILING) if value.as_tuple().exponent < -9 else value  # type: ignore[operator]
    power = -9
    whole = int(value.scaleb(9))
    while whole and whole % 1000 == 0 and power < 18:
        whole, power = whole // 1000, power + 3
    return f"{whole}{suffix(power)}" if whole else "0"


def _suffix(power: int) -> str:
    return _DECIMAL[power // 3 + 3]
