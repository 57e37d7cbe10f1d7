"""Fields: a JSON object being read, typed access that blames the exact field.

A getter raises `FieldError` with the path inside the object; whoever can do without the part that failed
catches it and turns it into a `Problem` (`Reader.note`). Keys that nobody asked for become a warning: a field
is never accepted and ignored in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mesh.model.origin import ObjectRef, Problem, Severity

T = TypeVar("T")

# Go's time.ParseDuration and protobuf's JSON durations ("7s", "1.5s", "1h30m", "500ms"); no sign: none makes sense here.
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Go's time.Duration ends there (2^63 ns), and so does what Envoy takes: one that is longer would cost every proxy its whole route table.
_LONGEST_HOURS = 2562047


class FieldError(Exception):
    """One part of an object cannot be used. field: path such as `spec.http[0].match[1].uri.regex`."""

    def __init__(self, field: str, message: str, reason: str = "Invalid") -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.reason = reason


class Reader:
    """Collects the problems of one object while it is parsed."""

    def __init__(self, ref: ObjectRef) -> None:
        self.ref = ref
        self.problems: list[Problem] = []

    def error(self, field: str, message: str, reason: str = "Invalid") -> None:
        """The part has no effect."""
        self.problems.append(Problem(self.ref, field, message, reason))

    def warn(self, field: str, message: str, reason: str = "Unsupported") -> None:
        """The part works, but hardly as its author meant."""
        self.problems.append(Problem(self.ref, field, message, reason, Severity.WARNING))

    def note(self, error: FieldError) -> None:
        self.error(error.field, error.message, error.reason)

    def attempt(self, parse: Callable[[], T]) -> T | None:
        """What `parse` returns, or None after noting why it could not."""
        try:
            return parse()
        except FieldError as error:
            self.note(error)
            return None

    def collect(self, items: Iterable[Fields], parse: Callable[[Fields], T]) -> tuple[T, ...]:
        """`parse` of every item, leaving out (and noting) those that fail."""
        found = []
        for item in items:
            value = self.attempt(lambda item=item: parse(item))  # type: ignore[misc]
            if value is not None:
                found.append(value)
        return tuple(found)


def url_part(value: str, field: str) -> str:
    """See `Fields.url_text`. Raises FieldError."""
    wrong = next((char for char in value if not "!" <= char <= "~"), "")
    if wrong:
        raise FieldError(field, f"holds {wrong!r}, which no URL can have", "InvalidUrl")
    return value


class Fields:
    """One JSON object at `path`. Every getter marks its key as known; `close` reports the rest."""

    __slots__ = ("_known", "path", "reader", "value")

    def __init__(self, value: Any, path: str, reader: Reader) -> None:
        if not isinstance(value, Mapping):
            raise FieldError(path, f"must be an object, is {_kind(value)}")
        self.value: Mapping[str, Any] = value
        self.path = path
        self.reader = reader
        self._known: set[str] = set()

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Present and not null. Does not mark the key as known."""
        return self.value.get(name) is not None

    def raw(self, name: str) -> Any:
        self._known.add(name)
        return self.value.get(name)

    def text(self, name: str, default: str = "") -> str:
        return self._typed(name, str, default, "a string")

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise FieldError(self.at(name), "is required", "Required")
        return value

    def url_text(self, name: str) -> str:
        """A part of a URL as it will stand in a request line, a Host or a Location: visible ASCII."""
        return url_part(self.text(name), self.at(name))

    def boolean(self, name: str, default: bool = False) -> bool:
        return self._typed(name, bool, default, "true or false")

    def integer(self, name: str, low: int, high: int) -> int | None:
        """None when absent."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise FieldError(self.at(name), f"must be an integer, is {_kind(value)} {value!r}")
        if not low <= value <= high:
            raise FieldError(self.at(name), f"must be within {low}..{high}, is {value}", "OutOfRange")
        return int(value)

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError(self.at(name), f"must be a number, is {_kind(value)} {value!r}")
        if not low <= value <= high:
            raise FieldError(self.at(name), f"must be within {low:g}..{high:g}, is {value:g}", "OutOfRange")
        return float(value)

    def port(self, name: str) -> int | None:
        return self.integer(name, 1, 65535)

    def seconds(self, name: str) -> float | None:
        """A duration in seconds; None when absent."""
        text = self.text(name)
        if not text:
            return None
        if text == "0":
            return 0.0
        if not _DURATION.fullmatch(text):
            raise FieldError(self.at(name), f"must be a duration such as 7s or 500ms, is {text!r}")
        seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        if seconds > _LONGEST_HOURS * 3600:
            raise FieldError(self.at(name), f"must be at most {_LONGEST_HOURS}h, is {text!r}", "OutOfRange")
        return seconds

    def one_of(self, name: str, table: Mapping[str, T], default: T) -> T:
        """The table's value for an enum's text."""
        text = self.text(name)
        if not text:
            return default
        if text not in table:
            raise FieldError(self.at(name), f"must be one of {', '.join(table)}, is {text!r}", "UnsupportedValue")
        return table[text]

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._list(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise FieldError(f"{self.at(name)}[{index}]", f"must be a string, is {_kind(value)}")
        return tuple(values)

    def text_map(self, name: str) -> dict[str, str]:
        value = self.raw(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise FieldError(self.at(name), f"must be an object of strings, is {_kind(value)}")
        for key, item in value.items():
            if not isinstance(item, str):
                raise FieldError(f"{self.at(name)}[{key}]", f"must be a string, is {_kind(item)}")
        return dict(value)

    def object(self, name: str) -> Fields | None:
        """The nested object; None when absent."""
        value = self.raw(name)
        return None if value is None else Fields(value, self.at(name), self.reader)

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of a list. One that is no object is noted and left out."""
        for index, value in enumerate(self._list(name)):
            try:
                yield Fields(value, f"{self.at(name)}[{index}]", self.reader)
            except FieldError as error:
                self.reader.note(error)

    def entries(self, name: str) -> Iterator[tuple[str, Fields]]:
        """(key, object) of a map of objects, e.g. `match.headers`."""
        value = self.raw(name)
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise FieldError(self.at(name), f"must be an object, is {_kind(value)}")
        for key, item in value.items():
            yield key, Fields({} if item is None else item, f"{self.at(name)}[{key}]", self.reader)

    def ignore(self, *names: str) -> None:
        """Keys that have no effect on traffic, by their own documentation."""
        self._known.update(names)

    def close(self) -> None:
        """Warns of every key that no getter asked for."""
        for name in self.value:
            if name not in self._known and self.value[name] is not None:
                self.reader.warn(self.at(name), "is not supported and has no effect", "UnsupportedField")

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise FieldError(self.at(name), f"must be a list, is {_kind(value)}")
        return value

    def _typed(self, name: str, kind: type[T], default: T, words: str) -> T:
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise FieldError(self.at(name), f"must be {words}, is {_kind(value)} {value!r}")
        return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}.get(type(value), "a number")
