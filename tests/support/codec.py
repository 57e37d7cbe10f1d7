"""Both forms of the compiled codec modules, and what a parser makes of bytes as a flat list of events."""

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import mesh.codec
from mesh.codec.events import END, ProtocolError

FORMS = ("compiled", "pure")
_ROOT = Path(mesh.codec.__file__).parent
_TWOFOLD = (
    "mesh.codec.h1",
    "mesh.codec.h1.fields",
    "mesh.codec.h1.head",
    "mesh.codec.h1.body",
    "mesh.codec.h1.parser",
    "mesh.codec.h1.encode",
    "mesh.codec.sock",
)

Event = tuple[Any, ...]


class _SourceFinder(MetaPathFinder):
    """Finds the .py of the twofold modules although an extension lies beside it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _TWOFOLD:
            return None
        base = _ROOT.joinpath(*fullname.split(".")[2:])
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        search = [str(base)] if base.is_dir() else None
        return spec_from_file_location(
            fullname, file, loader=SourceFileLoader(fullname, str(file)), submodule_search_locations=search
        )


@contextmanager
def _from_source() -> Iterator[None]:
    hidden = {name: sys.modules.pop(name) for name in _TWOFOLD if name in sys.modules}
    attributes = {name: getattr(mesh.codec, name) for name in ("h1", "sock") if hasattr(mesh.codec, name)}
    finder = _SourceFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in _TWOFOLD:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        for name, value in attributes.items():
            setattr(mesh.codec, name, value)


@cache
def load(module: str, form: str) -> Any:
    """A module below mesh.codec ("h1", "h1.head", "sock") in one of its FORMS; None: it was not compiled here."""
    name = f"mesh.codec.{module}"
    if form == "compiled":
        found = importlib.import_module(name)
        probe = importlib.import_module("mesh.codec.h1.fields") if module == "h1" else found
        return None if str(probe.__file__).endswith(".py") else found
    modules = _pure_modules()
    assert str(modules[name].__file__).endswith(".py")
    return modules[name]


@cache
def _pure_modules() -> dict[str, ModuleType]:
    for name in _TWOFOLD:  # so that there is something to restore
        importlib.import_module(name)
    with _from_source():
        return {name: importlib.import_module(name) for name in _TWOFOLD}


def splits(data: bytes) -> dict[str, list[bytes]]:
    """Ways to deliver data: whole, byte by byte, in two halves."""
    half = len(data) // 2
    return {"whole": [data], "bytes": [data[i : i + 1] for i in range(len(data))], "halves": [data[:half], data[half:]]}


def request_events(
    h1: Any, pieces: Iterable[bytes], *, eof: bool = False, data_only: bool = False, limits: Any = None
) -> list[Event]:
    """What a RequestParser makes of the pieces: heads, bodies, ends, at most one error, at last what is left over."""
    return _events(h1.RequestParser(limits), lambda parser: parser.head(), pieces, eof, data_only, _describe_request)


def response_events(
    h1: Any,
    pieces: Iterable[bytes],
    method: bytes = b"GET",
    *,
    eof: bool = False,
    data_only: bool = False,
    limits: Any = None,
) -> list[Event]:
    """As request_events; every response answers a request of that method."""
    return _events(
        h1.ResponseParser(limits), lambda parser: parser.head(method), pieces, eof, data_only, _describe_response
    )


def _events(
    parser: Any, head_of: Any, pieces: Iterable[bytes], eof: bool, data_only: bool, describe: Any
) -> list[Event]:
    events: list[Event] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            _pump(parser, head_of, data_only, describe, events)
        if eof:
            parser.eof()
            _pump(parser, head_of, data_only, describe, events)
    except ProtocolError as error:
        events.append(("error", error.status))
        return events
    rest = parser.leftover()
    return [*events, ("rest", rest)] if rest else events


def _pump(parser: Any, head_of: Any, data_only: bool, describe: Any, events: list[Event]) -> None:
    # Every round consumes bytes or ends a message, so it cannot go round more often than there are bytes.
    while True:
        if not events or events[-1][0] not in ("head", "body"):
            head = head_of(parser)
            if head is None:
                return
            events.append(("head", *describe(head)))
        run = parser.body_data() if data_only else parser.body_raw()
        if run is None:
            return
        if run is END:
            events.append(("end", tuple(parser.trailers) if parser.trailers is not None else ()))
            parser.next()
        elif events[-1][0] == "body":
            events[-1] = ("body", events[-1][1] + run)
        else:
            assert run, "an empty run"
            events.append(("body", run))


def _describe_request(head: Any) -> tuple[Any, ...]:
    return (head.method, head.target, head.authority, head.minor, head.keep_alive, tuple(head))


def _describe_response(head: Any) -> tuple[Any, ...]:
    return (head.status, head.reason, head.minor, head.keep_alive, tuple(head))
