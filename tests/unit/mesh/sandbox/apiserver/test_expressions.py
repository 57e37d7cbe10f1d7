from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver import expressions
from mesh.sandbox.apiserver.expressions import FUNCTIONS, Failed, Unsupported, escape, evaluate


def test_reserved_names_are_escaped_as_documented() -> None:
    assert escape({"namespace": 1, "a-b": [{"x.y/z": 2, "a__b": 3}], "plain": "namespace"}) == {"__namespace__": 1, "a__dash__b": [{"x__dot__y__slash__z": 2, "a__underscores__b": 3}], "plain": "namespace"}


def test_kubernetes_functions() -> None:
    f = FUNCTIONS
    assert f["split"]("a.b", ".") == ["a", "b"] and f["join"](["a", "b"], "-") == "a-b" and f["substring"]("abc", 1) == "bc" and f["lowerAscii"]("A") == "a"
    assert f["isURL"]("https://a/b") and not f["isURL"]("nope") and f["getScheme"](f["url"]("https://a:1/b")) == "https" and f["getPort"]("https://a:1/b") == "1"
    assert f["isIP"]("::1") and not f["isIP"]("x") and f["isCIDR"]("10.0.0.0/8") and not f["isCIDR"]("10.0.0.0")
    with pytest.raises(ValueError):
        f["substring"]("abc", 5)


def test_missing_library_is_unsupported() -> None:
    if expressions.is_available():
        pytest.skip("cel-python is installed")
    with pytest.raises(Unsupported, match="not installed"):
        evaluate("true", {})


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("self.a.all(x, x > 1)", {"a": [2, 3]}, True), ("has(self.b) ? self.b : 'none'", {}, "none"), ("self.size() > 0 && self[0].n == 'x'", [{"n": "x"}], True), ("self.all(p, has(p.__namespace__))", [{"namespace": "n"}], True),
        ("'a.b'.split('.')[1] == 'b'", {}, True), ("self.n.matches('^a+$')", {"n": "aa"}, True), ("duration('5s') < duration('1m')", {}, True),
    ],
)  # fmt: skip
def test_evaluate(text: str, value: Any, result: Any) -> None:
    pytest.importorskip("celpy")
    assert evaluate(text, {"self": value}) == result


def test_failures_and_gaps_are_told_apart() -> None:
    pytest.importorskip("celpy")
    with pytest.raises(Failed):
        evaluate("self.missing == 1", {"self": {}})
    for text in ("nosuch(1)", "1 +"):
        with pytest.raises(Unsupported):
            evaluate(text, {})
