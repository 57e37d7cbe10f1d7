"""Names: the character rules of Kubernetes identifiers. Pure. Source: "Object Names and IDs", "Labels and Selectors"; RFC 1123, RFC 1035."""

from __future__ import annotations

import re

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_RULE = ("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character "
              "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')")  # fmt: skip
SUBDOMAIN_RULE = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
                  "(e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")  # fmt: skip


def is_label(name: str) -> bool:
    """RFC 1123 label: at most 63 characters."""
    return len(name) <= 63 and bool(LABEL.fullmatch(name))


def is_service_name(name: str) -> bool:
    """RFC 1035 label: as a label, but no leading digit."""
    return len(name) <= 63 and bool(SERVICE.fullmatch(name))


def is_subdomain(name: str) -> bool:
    """Labels joined by dots: at most 253 characters."""
    return len(name) <= 253 and bool(name) and all(LABEL.fullmatch(part) for part in name.split("."))


def is_path_segment(name: str) -> bool:
    """What may stand alone in a URL path: names of RBAC objects."""
    return bool(name) and name not in (".", "..") and "/" not in name and "%" not in name


def is_qualified_name(name: str) -> bool:
    """`[prefix/]name` of labels, annotations and finalizers."""
    prefix, slash, rest = name.rpartition("/")
    if slash and not is_subdomain(prefix):
        return False
    return len(rest) <= 63 and bool(QUALIFIED.fullmatch(rest))


def is_label_value(value: str) -> bool:
    """Empty, or as the name part of a key."""
    return value == "" or (len(value) <= 63 and bool(QUALIFIED.fullmatch(value)))
