import pytest

from injector.fields import BadField
from injector.selector import parse_selector

LABELS = {"app": "a", "tier": "web"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "a", "x": "y"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["b", "a"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}, {"key": "x", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({}, False),
    ],
)
def test_matching(selector: dict[str, object], matches: bool) -> None:
    parsed = parse_selector(selector, "s")
    assert parsed.matches(LABELS) is matches
    assert parse_selector(parsed.to_json(), "s") == parsed


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ({"matchLabel": {}}, "s.matchLabel: unknown field"),
        ({"matchExpressions": [{"operator": "Exists"}]}, "s.matchExpressions[0].key: is required"),
        ({"matchExpressions": [{"key": "a", "operator": "Is"}]}, "s.matchExpressions[0].operator: must be one of"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}, "operator Exists needs no values"),
    ],
)
def test_error_names_the_path(selector: dict[str, object], message: str) -> None:
    with pytest.raises(BadField) as caught:
        parse_selector(selector, "s")
    assert message in str(caught.value)
