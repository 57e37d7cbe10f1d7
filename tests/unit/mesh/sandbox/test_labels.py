"""Requirements on labels."""

import pytest

from mesh.sandbox.labels import meets


@pytest.mark.parametrize(
    ("operator", "values", "one", "other", "none"),
    [("In", ["a", "b"], True, False, False), ("NotIn", ["a", "b"], False, True, True), ("Exists", None, True, True, False), ("DoesNotExist", None, False, False, True)],
)
def test_operators(operator: str, values: list[str] | None, one: bool, other: bool, none: bool) -> None:
    requirement = {"key": "k", "operator": operator, "values": values}
    assert [meets(requirement, labels) for labels in ({"k": "a"}, {"k": "c"}, {"x": "a"})] == [one, other, none]


def test_an_operator_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="'Gt'"):
        meets({"key": "k", "operator": "Gt", "values": ["1"]}, {"k": "2"})
