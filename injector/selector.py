"""Selector: a Kubernetes label selector, parsed once and matched many times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from injector.fields import BadField, Fields

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression. `operator` is one of Kubernetes' four."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Source: metav1.LabelSelectorRequirement; NotIn holds for an absent key too."""
        match self.operator:
            case "In":
                return self.key in labels and labels[self.key] in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold. One without any matches nothing here: an empty entry in a list is a slip."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy every requirement."""
        return bool(self.requirements) and all(item.matches(labels) for item in self.requirements)

    def to_json(self) -> dict[str, Any]:
        """As Kubernetes writes it, with expressions only."""
        items = [
            {"key": item.key, "operator": item.operator, **({"values": list(item.values)} if item.values else {})}
            for item in self.requirements
        ]
        return {"matchExpressions": items}


def parse_selector(value: object, path: str) -> Selector:
    """A metav1.LabelSelector. Raises: BadField, naming the path of what is wrong."""
    fields = Fields.of(value, path)
    labels = fields.mapping("matchLabels")
    found = []
    for key, text in labels.items():
        if not isinstance(text, str):
            raise BadField(f"{path}.matchLabels.{key}", f"must be a string, not {text!r}")
        found.append(Requirement(key, "In", (text,)))
    for index, item in enumerate(fields.items("matchExpressions")):
        found.append(_requirement(Fields.of(item, f"{path}.matchExpressions[{index}]")))
    fields.done()
    return Selector(tuple(found))


def _requirement(fields: Fields) -> Requirement:
    key = fields.string("key", "")
    if not key:
        raise BadField(fields.path("key"), "is required")
    operator = fields.enum("operator", _OPERATORS, "")
    values = fields.strings("values", ())
    if (operator in ("In", "NotIn")) != bool(values):
        raise BadField(fields.path("values"), f"operator {operator} needs {'values' if not values else 'no values'}")
    fields.done()
    return Requirement(key, operator, values)
