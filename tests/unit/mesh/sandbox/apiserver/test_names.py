from __future__ import annotations

from mesh.sandbox.apiserver import names


def test_labels_and_subdomains() -> None:
    assert all(map(names.is_label, ["a", "a-1", "0a", "a" * 63]))
    assert not any(map(names.is_label, ["", "-a", "a-", "A", "a.b", "a" * 64, "a\n"]))
    assert names.is_subdomain("a.b-c.d") and not names.is_subdomain("a..b") and not names.is_subdomain("")
    assert names.is_service_name("a1") and not names.is_service_name("1a")


def test_qualified_names_and_values() -> None:
    assert all(map(names.is_qualified_name, ["a", "example.com/Name_1.x", "A"]))
    assert not any(map(names.is_qualified_name, ["", "/a", "Example.com/a", "a/b/c", "a/", "-a"]))
    assert names.is_label_value("") and names.is_label_value("v1.2_x") and not names.is_label_value("a b")
    assert names.is_path_segment("system:x") and not names.is_path_segment("a/b") and not names.is_path_segment("..")
