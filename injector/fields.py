"""Fields: a YAML or JSON mapping read strictly: every wrong type and every unknown field is named by its path."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Source: Kubernetes API, resource.Quantity: decimal number, then a binary or decimal SI suffix or an exponent.
_QUANTITY = re.compile(r"(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
# Source: Go time.ParseDuration without the sign; Kubernetes durations in Istio objects are written so.
_DURATION = re.compile(r"(\d+(\.\d+)?(h|m(?!s)|s|ms))+")


class BadField(ValueError):
    """A field that cannot be taken as it is. `str()` is "path: what is wrong"."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class Fields:
    """One mapping being read; `done()` complains about fields that nobody asked for."""

    __slots__ = ("_mapping", "_path", "_seen")

    def __init__(self, mapping: Mapping[str, Any], path: str) -> None:
        self._mapping, self._path, self._seen = mapping, path, set[str]()

    @classmethod
    def of(cls, value: object, path: str) -> "Fields":
        """Raises: BadField: not a mapping with string keys. None counts as empty, as an empty YAML document does."""
        value = {} if value is None else value
        if not isinstance(value, Mapping) or any(not isinstance(key, str) for key in value):
            raise BadField(path or "the document", f"must be a mapping, not {_kind(value)}")
        return cls(value, path)

    def raw(self) -> Mapping[str, Any]:
        """The mapping as it came."""
        return self._mapping

    def has(self, name: str) -> bool:
        """Present and not null."""
        return self._mapping.get(name) is not None

    def path(self, name: str) -> str:
        """The full path of a field, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def done(self) -> None:
        """Raises: BadField: a field that was never read."""
        for name in self._mapping:
            if name not in self._seen:
                raise BadField(self.path(name), f"unknown field (known: {', '.join(sorted(self._seen))})")

    def string(self, name: str, default: str) -> str:
        """A non-empty string."""
        value = self._get(name, default)
        if not isinstance(value, str) or (not value and default):
            raise BadField(self.path(name), f"must be a non-empty string, not {_kind(value)}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """true or false, not a string that looks like it."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise BadField(self.path(name), f"must be true or false, not {_kind(value)}")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in low..high."""
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadField(self.path(name), f"must be a whole number in {low}..{high}, not {_kind(value)}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number in low..high."""
        value = self._get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise BadField(self.path(name), f"must be a number in {low:g}..{high:g}, not {_kind(value)}")
        return value

    def duration(self, name: str, default: str) -> str:
        """A duration such as 45s or 1m30s, kept as written."""
        value = self._get(name, default)
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            raise BadField(self.path(name), f"must be a duration such as 45s or 1m30s, not {_kind(value)}")
        return value

    def enum(self, name: str, allowed: Sequence[str], default: str) -> str:
        """One of the allowed words. YAML 1.1 reads a bare on/off as true/false; that is understood."""
        value = self._get(name, default)
        if isinstance(value, bool) and ("on" in allowed or "off" in allowed):
            value = "on" if value else "off"
        if value not in allowed:
            raise BadField(self.path(name), f"must be one of {', '.join(word for word in allowed if word)}, not {_kind(value)}")
        return str(value)

    def strings(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(name) if name in self._mapping else list(default)
        self._seen.add(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise BadField(f"{self.path(name)}[{index}]", f"must be a string, not {_kind(value)}")
        return tuple(values)

    def items(self, name: str) -> list[Any]:
        """A list, empty when absent."""
        value = self._get(name, [])
        if not isinstance(value, list):
            raise BadField(self.path(name), f"must be a list, not {_kind(value)}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping, empty when absent."""
        return Fields.of(self._get(name, {}), self.path(name)).raw()

    def child(self, name: str) -> "Fields":
        """A nested mapping to be read strictly too."""
        return Fields.of(self._get(name, {}), self.path(name))

    def _get(self, name: str, default: object) -> Any:
        self._seen.add(name)
        value = self._mapping.get(name)
        return default if value is None else value


def quantity(value: object, path: str) -> str:
    """A Kubernetes quantity as a string (`100m`, `128Mi`, 2). Raises: BadField."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
        raise BadField(path, f"must be a quantity such as 100m or 128Mi, not {_kind(value)}")
    return text


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)
