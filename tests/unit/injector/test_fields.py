import pytest

from injector.fields import BadField, Fields, quantity


def test_unread_fields_are_an_error_with_the_known_ones_named() -> None:
    fields = Fields.of({"a": "x", "b": 1}, "root")
    assert fields.string("a", "") == "x"
    with pytest.raises(BadField, match=r"root\.b: unknown field \(known: a\)"):
        fields.done()


def test_null_counts_as_absent() -> None:
    assert Fields.of({"a": None}, "").integer("a", 7, 0, 9) == 7


@pytest.mark.parametrize(
    ("method", "args", "value"),
    [
        ("string", ("d",), 1),
        ("string", ("d",), ""),
        ("boolean", (False,), "true"),
        ("boolean", (False,), 1),
        ("integer", (1, 0, 9), True),
        ("integer", (1, 0, 9), 10),
        ("integer", (1, 0, 9), 1.5),
        ("number", (1, 0, 9), "3"),
        ("number", (1, 0, 9), -0.1),
        ("duration", ("1s",), "1 s"),
        ("duration", ("1s",), 5),
        ("duration", ("1s",), "-1s"),
        ("enum", (("a", "b"), "a"), "c"),
        ("strings", ((),), ["a", 1]),
        ("strings", ((),), "a"),
        ("mapping", (), []),
        ("child", (), "x"),
    ],
)
def test_wrong_type_or_value_names_the_path(method: str, args: tuple[object, ...], value: object) -> None:
    with pytest.raises(BadField, match=r"^root\.f"):
        getattr(Fields.of({"f": value}, "root"), method)("f", *args)


def test_bare_on_and_off_of_yaml_are_understood() -> None:
    assert Fields.of({"f": True}, "").enum("f", ("on", "off"), "off") == "on"
    assert Fields.of({"f": False}, "").enum("f", ("on", "off"), "on") == "off"


@pytest.mark.parametrize("text", ["1m30s", "45s", "1.5h", "100ms", "5m"])
def test_durations_are_kept_as_written(text: str) -> None:
    assert Fields.of({"f": text}, "").duration("f", "1s") == text


@pytest.mark.parametrize("value", ["100m", "2", 2, 0.5, "1Gi", "1e3", ".5", "128Mi"])
def test_quantities(value: object) -> None:
    assert quantity(value, "q") == str(value)


@pytest.mark.parametrize("value", ["", "1 Gi", "1GB", "-1", True, None, "m", [], "1Gi2"])
def test_what_is_no_quantity(value: object) -> None:
    with pytest.raises(BadField):
        quantity(value, "q")
