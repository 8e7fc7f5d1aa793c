"""The tables that SQL makes, read from its text: the evidence for a version table that another tool has written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from mooring.lexer import GAP, IDENTIFIER, NAME, Statement
from mooring.names import TableName


@cache
def _pattern(words: str) -> re.Pattern[str]:
    """A statement's beginning, in which <table>, <tables> and <new> stand for names. Compiled only where it is needed."""
    pattern = words.replace(" ", GAP)
    pattern = pattern.replace("<tables>", rf"(?P<names>{NAME}(?:\s*,\s*{NAME})*)")
    pattern = pattern.replace("<table>", rf"(?P<name>{NAME})(?![\w$\"])").replace("<new>", f"(?P<new>{IDENTIFIER})")
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_ALTER = "ALTER (?:FOREIGN )?TABLE (?:IF EXISTS )?(?:ONLY )?"
_CREATE = "CREATE (?:(?:UNLOGGED|FOREIGN) )?TABLE (?:IF NOT EXISTS )?<table>(?! PARTITION OF )"
_DROP = "DROP (?:FOREIGN )?TABLE (?:IF EXISTS )?<tables>"
_RENAME = f"{_ALTER}<table> RENAME TO <new>"
_MOVE = f"{_ALTER}<table> SET SCHEMA <new>"
_ATTACH = f"{_ALTER}{NAME} ATTACH PARTITION <table>"
_DROP_SCHEMA = "DROP SCHEMA (?:IF EXISTS )?<tables>"


def left_behind(statements: Iterable[Statement]) -> set[TableName]:
    """The tables that are there after these statements, as far as their text tells: none of them partitions."""
    tables: set[TableName] = set()
    for statement in statements:
        text = statement.text
        if found := _pattern(_CREATE).match(text):
            tables.add(_name(found["name"]))
        elif found := _pattern(_DROP).match(text):
            tables -= {_name(name) for name in re.findall(NAME, found["names"])}
        elif found := _pattern(_RENAME).match(text):
            old = _name(found["name"])
            tables = (tables - {old}) | ({TableName(old.schema, _part(found["new"]))} if old in tables else set())
        elif found := _pattern(_MOVE).match(text):
            old = _name(found["name"])
            tables = (tables - {old}) | ({TableName(_part(found["new"]), old.name)} if old in tables else set())
        elif found := _pattern(_ATTACH).match(text):
            tables.discard(_name(found["name"]))
        elif found := _pattern(_DROP_SCHEMA).match(text):
            schemas = {_part(schema) for schema in re.findall(IDENTIFIER, found["names"])}
            tables = {table for table in tables if table.schema not in schemas}
    return tables


def _name(text: str) -> TableName:
    parts = [_part(part) for part in re.findall(IDENTIFIER, text)]
    return TableName(parts[0] if len(parts) > 1 else None, parts[-1])


def _part(text: str) -> str:
    """An identifier as the catalog has it: folded to lower case, unless quoted."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
