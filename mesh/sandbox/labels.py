"""One requirement of a selector on labels. Source: Kubernetes "Labels and Selectors", set-based requirements."""

from collections.abc import Mapping
from typing import Any


def meets(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet {"key", "operator", "values"}.

    Raises: ValueError: an operator that there is not.
    """
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or ()
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"label selector operator {operator!r}")
