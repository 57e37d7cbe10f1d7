"""Quantities in their canonical form."""

from typing import Any

import pytest

from mesh.sandbox.apiserver.quantities import canonical, normalise


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("0.1", "100m"), ("100m", "100m"), ("1000m", "1"), ("1500m", "1500m"), ("1.5", "1500m"), ("2", "2"), (2, "2"), ("0", "0"), ("2000", "2k"), ("1500k", "1500k"), ("1000k", "1M"), ("1e3", "1e3"), ("1.5e3", "1500"),
        ("1Gi", "1Gi"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("0.5Ki", "512"), ("1025Ki", "1025Ki"), ("0Mi", "0"), ("-0.5", "-500m"), ("1n", "1n"), ("1000u", "1m"), ("lots", "lots"), ("", ""), (True, True),
    ],
)  # fmt: skip
def test_one_form_for_each_amount(text: Any, form: Any) -> None:
    assert canonical(text) == form


def test_quantities_of_an_object_wherever_they_are() -> None:
    spec: dict[str, Any] = {"containers": [{"name": "a", "resources": {"limits": {"cpu": "0.5"}}, "image": "0.1"}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Ki"}}]}
    normalise(spec, {"$ref": "core.v1.PodSpec"})
    assert spec == {"containers": [{"name": "a", "resources": {"limits": {"cpu": "500m"}}, "image": "0.1"}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}
