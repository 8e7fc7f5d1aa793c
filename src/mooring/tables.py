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
# An atomic group, or a shorter name would be found where PARTITION OF follows: only "app" of app.t, or "if".
_CREATE = "(?>CREATE (?:(?:UNLOGGED|FOREIGN) )?TABLE (?:IF NOT EXISTS )?<table>)(?! PARTITION OF )"
_DROP = "DROP (?:FOREIGN )?TABLE (?:IF EXISTS )?<tables>"
_RENAME = f"{_ALTER}<table> RENAME TO <new>"
_MOVE = f"{_ALTER}<table> SET SCHEMA <new>"
_ATTACH = f"{_ALTER}{NAME} ATTACH PARTITION <table>"
_DROP_SCHEMA = "DROP SCHEMA (?:IF EXISTS )?<tables>"
_RENAME_SCHEMA = "ALTER SCHEMA <table> RENAME TO <new>"
_TAKES_AWAY = re.compile(r"\b(DROP|RENAME|SCHEMA)\b", re.IGNORECASE)


def left_behind(statements: Iterable[Statement]) -> set[TableName]:
    """The tables that are there after these statements, as far as their text tells: none of them partitions.

    A table that may be gone is not among them: what is missing would be taken for proof that another service was here.
    """
    tables: set[TableName] = set()
    for statement in statements:
        text = statement.text
        if found := _pattern(_CREATE).match(text):
            tables.add(_name(found["name"]))
        elif found := _pattern(_DROP).match(text):
            tables -= {table for name in re.findall(NAME, found["names"]) for table in _meant(_name(name), tables)}
        elif found := _pattern(_RENAME).match(text):
            old = _meant(_name(found["name"]), tables)
            tables = (tables - old) | {TableName(table.schema, _part(found["new"])) for table in old}
        elif found := _pattern(_MOVE).match(text):
            old = _meant(_name(found["name"]), tables)
            tables = (tables - old) | {TableName(_part(found["new"]), table.name) for table in old}
        elif found := _pattern(_ATTACH).match(text):
            tables -= _meant(_name(found["name"]), tables)
        elif found := _pattern(_DROP_SCHEMA).match(text):
            schemas = {_part(schema) for schema in re.findall(IDENTIFIER, found["names"])}
            tables = {table for table in tables if table.schema not in schemas}
        elif found := _pattern(_RENAME_SCHEMA).match(text):
            old = {table for table in tables if table.schema == _part(found["name"])}
            tables = (tables - old) | {TableName(_part(found["new"]), table.name) for table in old}
        elif statement.verb == "DO" and _TAKES_AWAY.search(text):
            words = set(re.findall(r"\w+", text.lower()))
            tables = {table for table in tables if not words.issuperset(re.findall(r"\w+", table.name.lower()))}
    return tables


def _meant(name: TableName, tables: Iterable[TableName]) -> set[TableName]:
    """Those that a name may stand for: where one of two names has no schema, they may be the same table's."""
    return {
        one
        for one in tables
        if one.name == name.name and (one.schema == name.schema or None in {one.schema, name.schema})
    }


def _name(text: str) -> TableName:
    parts = [_part(part) for part in re.findall(IDENTIFIER, text)]
    return TableName(parts[0] if len(parts) > 1 else None, parts[-1])


def _part(text: str) -> str:
    """An identifier as the catalog has it: folded to lower case, unless quoted."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
