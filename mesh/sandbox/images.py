"""Images without a registry: a table says which local command stands in for which image. The table is `images.yaml`."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import Any

import yaml

_log = logging.getLogger("images")
BUILT_IN = Path(__file__).with_name("images.yaml")
_FIELDS = frozenset({"image", "tag", "command", "args", "env", "user", "group", "workdir"})


class BadTable(ValueError):
    """An image table that cannot be used; the message names file, entry and field."""


class UnknownImage(LookupError):
    """No entry matches; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an image's own configuration would say."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    user: int
    group: int
    workdir: str


@dataclass(frozen=True, slots=True)
class _Entry:
    pattern: re.Pattern[str]
    tag: re.Pattern[str]
    parts: int
    image: Image


class ImageTable:
    """Entries in order of precedence."""

    def __init__(self, entries: Iterable[_Entry], user_file: Path) -> None:
        self._entries = tuple(entries)
        self._user_file = user_file

    def resolve(self, reference: str) -> Image:
        """What `reference` (`docker.io/istio/x:1.2@sha256:…`) runs here.

        Raises: UnknownImage.
        """
        name, tag = split_reference(reference)
        parts = name.split("/")
        for entry in self._entries:
            found = entry.pattern.fullmatch("/".join(parts[-entry.parts :]))
            if found and entry.tag.fullmatch(tag):
                return _fill(entry.image, found.groups())
        raise UnknownImage(
            f'no local command stands in for image "{reference}": the sandbox has no registry; add an entry '
            f'{{image: "{name}", command: [...]}} to {self._user_file}'
        )


class ImageResolver:
    """The image table, read again when the user's file changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: float | None = None
        self._table: ImageTable | None = None

    def __call__(self, reference: str) -> Image:
        """Raises: UnknownImage. A table that is broken is said in the log; the last good one stays in force."""
        stamp = self._file.stat().st_mtime if self._file.exists() else 0.0
        if self._table is None or stamp != self._stamp:
            try:
                self._table = load_table(self._file)
            except BadTable as exc:
                _log.error("%s", exc)
                self._table = self._table or ImageTable(parse_table(BUILT_IN.read_text(), str(BUILT_IN)), self._file)
            self._stamp = stamp
        return self._table.resolve(reference)


def load_table(user_file: Path) -> ImageTable:
    """The built-in table with the entries of `user_file` (if there is one) before it.

    Raises: BadTable: one of the two is malformed.
    """
    files = [user_file, BUILT_IN] if user_file.exists() else [BUILT_IN]
    return ImageTable((entry for file in files for entry in parse_table(file.read_text(), str(file))), user_file)


def parse_table(text: str, where: str) -> list[_Entry]:
    """Parse one table.

    Raises: BadTable.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise BadTable(f"{where}: {exc}") from exc
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise BadTable(f'{where}: expected "images:" with a list of entries')
    return [_entry(item, f"{where}: images[{index}]") for index, item in enumerate(data["images"])]


def split_reference(reference: str) -> tuple[str, str]:
    """(repository name, tag) of an image reference; Docker Hub's implied parts are left out.

    Source: distribution/reference grammar: [domain/]path[:tag][@digest].
    """
    name = reference.split("@", 1)[0]
    tag = "latest"
    head, colon, rest = name.rpartition(":")
    if colon and "/" not in rest:
        name, tag = head, rest
    for prefix in ("docker.io/", "index.docker.io/", "library/"):
        name = name.removeprefix(prefix)
    return name, tag


def _entry(item: Any, where: str) -> _Entry:
    if not isinstance(item, dict) or not isinstance(item.get("image"), str):
        raise BadTable(f'{where}: needs "image", a pattern')
    if unknown := sorted(set(item) - _FIELDS):
        raise BadTable(f"{where}: unknown field {unknown[0]!r} (known: {', '.join(sorted(_FIELDS))})")
    user = _number(item, "user", 0, where)
    image = Image(
        command=_strings(item, "command", where),
        args=_strings(item, "args", where),
        env=_environment(item, where),
        user=user,
        group=_number(item, "group", user, where),
        workdir=str(item.get("workdir", "/")),
    )
    if not image.command and not image.args:
        raise BadTable(f'{where}: needs "command" or "args": what to run')
    pattern = item["image"]
    name, tag = _glob(pattern), _glob(str(item.get("tag", "*")))
    return _Entry(name, tag, pattern.count("/") + 1, image)


def _glob(pattern: str) -> re.Pattern[str]:
    """fnmatch, with each `*` captured so that `env` may use it as {1}, {2} …"""
    return re.compile("(.*)".join(translate(part)[4:-3] for part in pattern.split("*")), re.DOTALL)


def _fill(image: Image, groups: tuple[str, ...]) -> Image:
    if not groups:
        return image
    env = dict(image.env)
    for number, group in enumerate(groups, 1):
        env = {name: value.replace(f"{{{number}}}", group) for name, value in env.items()}
    return Image(image.command, image.args, env, image.user, image.group, image.workdir)


def _strings(item: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    value = item.get(field, [])
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise BadTable(f"{where}: {field} must be a list of strings")
    return tuple(value)


def _environment(item: dict[str, Any], where: str) -> dict[str, str]:
    value = item.get("env", {})
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise BadTable(f"{where}: env must map strings to strings (quote numbers and true/false)")
    return value


def _number(item: dict[str, Any], field: str, default: int, where: str) -> int:
    value = item.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadTable(f"{where}: {field} must be a numeric id")
    return value
