"""CEL expressions, evaluated by the optional package `cel-python` (import name `celpy`).

Why that one: `common-expression-language`, the Rust one, is imported as `cel`, a name that xds-protos owns.
Kubernetes adds functions to CEL's own; those that validation rules in the wild use are registered here. What can still not be
evaluated is said so (`Unsupported`), never guessed: callers turn it into a warning.
Source: "Common Expression Language in Kubernetes".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

RESERVED = frozenset(["true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"])


class Unsupported(Exception):
    """There is no evaluator, or it does not know something that the expression uses."""


class Failed(Exception):
    """The expression was evaluated and ended in an error (a missing field, an overflow, …)."""


def evaluate(expression: str, variables: dict[str, Any]) -> Any:
    """The expression's value (booleans and text as Python's own). Raises: Unsupported, Failed."""
    program, celpy = _program(expression), _library()
    if "__" in expression:
        variables = {name: escape(value) for name, value in variables.items()}
    try:
        value = program.evaluate({name: celpy.json_to_cel(value) for name, value in variables.items()})
    except celpy.CELEvalError as exc:
        text = str(exc.args[0] if exc.args else exc).partition(" (in activation")[0]
        raise (Unsupported if "undeclared reference" in text or "unbound function" in text else Failed)(text) from exc
    if isinstance(value, celpy.CELEvalError):
        raise Failed(str(value))
    if isinstance(value, celpy.celtypes.BoolType):
        return bool(value)
    return str(value) if isinstance(value, str) else value


def syntax_error(expression: str) -> str:
    """Why an expression is no CEL; "" for one that is. Names and types are not checked: cel-python finds them only when it evaluates."""
    if not is_available():
        return ""
    try:
        _program(expression)
    except Unsupported as exc:
        return str(exc)
    return ""


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import celpy  # type: ignore[import-not-found] # 70 ms and 10 MB that a server without rules need not spend
        import celpy.celtypes  # type: ignore[import-not-found]
    except ImportError as exc:
        raise Unsupported("the package cel-python is not installed") from exc
    return celpy


@lru_cache(maxsize=2048)
def _program(expression: str) -> Any:
    celpy = _library()
    environment = celpy.Environment()
    try:
        tree = environment.compile(expression)
    except celpy.CELParseError as exc:
        raise Unsupported(f"cannot be parsed: {exc.args[0] if exc.args else exc}") from exc
    return environment.program(tree, functions=_functions())


@lru_cache(maxsize=1)
def _functions() -> dict[str, Callable[..., Any]]:
    """`FUNCTIONS` between CEL's types and Python's. An error is a value to CEL."""
    celpy = _library()

    def adapt(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            try:
                return celpy.json_to_cel(function(*arguments))
            except (ValueError, IndexError, TypeError) as exc:
                return celpy.CELEvalError(str(exc))

        return called

    return {name: adapt(function) for name, function in FUNCTIONS.items()}


def escape(value: Any) -> Any:
    """The value with its keys as CEL identifiers. Source: "Validation rules", "Escaping property names"."""
    if isinstance(value, dict):
        return {_identifier(key): escape(entry) for key, entry in value.items()}
    return [escape(entry) for entry in value] if isinstance(value, list) else value


def _identifier(key: str) -> str:
    if key in RESERVED:
        return f"__{key}__"
    return key.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")


def is_available() -> bool:
    """Whether an evaluator is installed."""
    try:
        _library()
    except Unsupported:
        return False
    return True


def _url(text: str) -> SplitResult:
    found = urlsplit(text)
    if not found.scheme and not text.startswith("/"):
        raise ValueError(f"{text!r} is no URL")
    return found


def _checked_url(text: str) -> str:
    _url(text)
    return text


def _is_url(text: str) -> bool:
    try:
        found = _url(text)
        return bool(found.scheme and found.netloc) or text.startswith("/")
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _substring(text: str, start: int, end: int | None = None) -> str:
    if not 0 <= start <= len(text) or (end is not None and not start <= end <= len(text)):
        raise ValueError("substring index is out of range")
    return text[start:end]


FUNCTIONS: dict[str, Any] = {
    "lowerAscii": lambda text: text.lower(), "upperAscii": lambda text: text.upper(), "trim": lambda text: text.strip(),
    "split": lambda text, separator: text.split(separator), "join": lambda parts, separator="": separator.join(parts), "substring": _substring,
    "replace": lambda text, old, new: text.replace(old, new), "indexOf": lambda text, part: text.find(part), "lastIndexOf": lambda text, part: text.rfind(part),
    "charAt": lambda text, index: text[index], "isURL": _is_url, "url": _checked_url, "getScheme": lambda text: _url(text).scheme,
    "getHost": lambda text: _url(text).netloc, "getHostname": lambda text: _url(text).hostname or "", "getPort": lambda text: str(_url(text).port or ""),
    "getEscapedPath": lambda text: _url(text).path, "isIP": _is_ip, "isCIDR": _is_cidr, "sum": lambda values: sum(values), "isSorted": lambda values: values == sorted(values),
}  # fmt: skip
