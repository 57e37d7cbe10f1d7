"""Tables for people, documents for scripts."""

import json

import yaml

from mesh.cli.options import Format
from mesh.cli.output import show, table

ROWS = [{"name": "a", "share": 12.345, "domains": ["x", "y"]}, {"name": "longer", "share": None, "domains": []}]
COLUMNS = [("name", "NAME"), ("share", "SHARE"), ("domains", "DOMAINS")]


def test_columns_are_as_wide_as_their_widest_cell():
    assert table(ROWS, COLUMNS).splitlines() == ["NAME     SHARE   DOMAINS", "a        12.3    x, y", "longer   -       -"]


def test_documents_hold_whole_rows(capsys):
    show(ROWS, [], Format.json)
    assert json.loads(capsys.readouterr().out) == ROWS
    show(ROWS, [], Format.yaml)
    assert yaml.safe_load(capsys.readouterr().out) == ROWS


def test_an_empty_table_says_so_on_stderr_and_an_empty_document_is_a_list(capsys):
    show([], COLUMNS, Format.table, "no routes")
    assert capsys.readouterr() == ("", "no routes\n")
    show([], COLUMNS, Format.json)
    assert json.loads(capsys.readouterr().out) == []
