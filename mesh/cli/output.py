"""What meshctl prints: a table for people, JSON or YAML for scripts; progress and errors go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from mesh.cli.options import Format


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], output: Format, empty: str = "nothing found") -> None:
    """Print rows.

    Args: columns: (key of the row, heading) of the table; json and yaml print whole rows.
          empty: what a table of no rows says (on stderr, as kubectl does).
    """
    if output is not Format.table:
        document(list(rows), output)
    elif not rows:
        print(empty, file=sys.stderr)
    else:
        print(table(rows, columns))


def document(value: Any, output: Format) -> None:
    """Print one value as JSON or YAML."""
    if output is Format.json:
        print(json.dumps(value, indent=2, default=str))
    else:
        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> str:
    """Columns padded to their widest cell, three blanks apart, as kubectl prints them."""
    cells = [[heading for _, heading in columns]] + [[_cell(row.get(key)) for key, _ in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "-"
    return str(value)


def step(text: str) -> None:
    """One line of progress, on stderr."""
    print(f">> {text}", file=sys.stderr, flush=True)
