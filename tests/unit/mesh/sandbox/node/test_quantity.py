"""Kubernetes quantities."""

from fractions import Fraction

import pytest

from mesh.sandbox.node.quantity import divide, parse


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("100m", Fraction(1, 10)), ("64Mi", 64 << 20), ("1.5Gi", 3 << 29), ("1e3", 1000), ("2E", 2 * 10**18), ("1E2", 100), (".5", Fraction(1, 2)), ("-1k", -1000)]
)
def test_quantities(text: str, value: Fraction | int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "x", "1Kb", "1 Mi", "Mi", "1e", "--1"])
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse(text)


def test_division_rounds_up_and_zero_means_one() -> None:
    assert (divide("100m", "1"), divide("65537Ki", "1Mi"), divide("3", "0")) == (1, 65, 3)
